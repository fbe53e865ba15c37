"""Whose call a request is: what the vendor's code signs is let in, and nothing that was changed afterwards."""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from api_under_test import KEY, SECRET, Signed
from hypothesis import given
from hypothesis import strategies as st

from exhook.api.claim import SKEW_MS, Claim
from exhook.api.parameters import Parameters
from exhook.api.refusal import Refusal
from exhook.api.request import Request
from exhook.api.signatures import verify
from store.clock import now_ms

NOW = now_ms() // 1000 * 1000
SIGNERS: tuple[Callable[..., Request], ...] = (Signed.v3, Signed.v2)
WAYS = pytest.mark.parametrize("sign", SIGNERS, ids=["v3", "v2"])

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text("ABCXYZabc", min_size=1, max_size=6).map(lambda name: f"P{name}")
asked = st.dictionaries(names, texts, max_size=4)


def find(access_key_id: str) -> tuple[Sequence[bytes], bool] | None:
    return {KEY: ((SECRET.encode(),), True), "AKtwo": ((b"old", b"new"), True), "AKoff": ((b"off",), False)}.get(
        access_key_id
    )


def judged(request: Request, now: int = NOW) -> Claim:
    return verify(request, Parameters(request.query_pairs, request.form_pairs), find, now)


def code(request: Request, now: int = NOW) -> str:
    with pytest.raises(Refusal) as refused:
        judged(request, now)
    assert SECRET not in str(refused.value)
    return refused.value.code


def call(**more: Any) -> Signed:
    return Signed(**({"at_ms": NOW} | more))


def with_header(request: Request, name: bytes, *values: bytes) -> Request:
    others = tuple(header for header in request.headers if header[0] != name)
    return replace(request, headers=(*others, *((name, value) for value in values)))


@WAYS
@given(query=asked, form=asked)
def test_what_the_vendors_code_signs_is_let_in(
    sign: Callable[..., Request], query: dict[str, str], form: dict[str, str]
) -> None:
    form = {name: value for name, value in form.items() if name not in query}
    claim = judged(sign(call(method="POST", query=query, form=form)))
    assert (claim.access_key_id, claim.action, claim.at_ms) == (KEY, "QueryCustomAuthIdentity", NOW)


@WAYS
def test_a_query_may_be_escaped_otherwise_and_stand_in_another_order(sign: Callable[..., Request]) -> None:
    """The synchronous client escapes a blank as `%20`, the asynchronous one as `+`."""
    request = sign(call(query={"Topic": "a b/~c+d", "Z": "", "InstanceId": "é"}))
    pairs = [
        f"{quote(name)}={quote(value).replace('%20', '+').replace('~', '%7e')}" for name, value in request.query_pairs
    ]
    judged(replace(request, query="&".join(reversed(pairs)).encode("ascii")))


@WAYS
@given(data=st.data())
def test_no_query_that_says_something_else_is_let_in(sign: Callable[..., Request], data: st.DataObject) -> None:
    request = sign(call(query={"InstanceId": "mqtt-a", "Topic": "a/b"}))
    pairs = list(request.query_pairs)
    at = data.draw(st.integers(0, len(pairs) - 1))
    name, value = pairs[at]
    other = data.draw(texts.filter(lambda text: text != value))
    changed = data.draw(st.sampled_from([
        [*pairs[:at], (name, other), *pairs[at + 1 :]],
        [*pairs[:at], *pairs[at + 1 :]],
        [*pairs, ("More", other)],
        [*pairs[:at], (name + "x", value), *pairs[at + 1 :]],
    ]))  # fmt: skip
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in changed)
    with pytest.raises(Refusal):
        judged(replace(request, query=query.encode()))


@WAYS
@given(body=st.binary(max_size=40))
def test_no_other_body_is_let_in(sign: Callable[..., Request], body: bytes) -> None:
    request = sign(call(method="POST", form={"Username": "u", "Secret": "s"}))
    if body == request.body:
        return
    with pytest.raises(Refusal):
        judged(replace(request, body=body))


@WAYS
def test_another_body_is_a_signature_that_does_not_match(sign: Callable[..., Request]) -> None:
    request = sign(call(method="POST", form={"Username": "u"}))
    assert code(replace(request, body=b"Username=v")) == "SignatureDoesNotMatch"


@WAYS
def test_another_method_does_not_match(sign: Callable[..., Request]) -> None:
    assert code(replace(sign(call()), method="POST")) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "name", [b"host", b"user-agent", b"accept", b"x-acs-action", b"x-acs-version", b"x-acs-date", b"content-type"]
)
def test_no_signed_header_may_be_changed_or_missing(name: bytes) -> None:
    request = call(method="POST", form={"A": "b"}).v3()
    changed = request.header(name).replace(b"2", b"3") if name == b"x-acs-date" else b"other"
    for values in ((changed,), (), (request.header(name), request.header(name))):
        with pytest.raises(Refusal) as refused:
            judged(with_header(request, name, *values))
        assert refused.value.code in {
            "SignatureDoesNotMatch", "InvalidTimeStamp.Expired", "InvalidTimeStamp.Format",
            "InvalidParameter.ContentType",
        }  # fmt: skip


def test_headers_that_a_proxy_adds_do_not_matter() -> None:
    judged(with_header(call().v3(), b"x-forwarded-for", b"10.0.0.1"))


def test_an_unknown_header_that_was_signed_counts() -> None:
    request = call().v3(**{"x-trace": "  7 "})
    judged(request)
    assert code(with_header(request, b"x-trace", b"8")) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "name", ["host", "x-acs-action", "x-acs-signature-nonce", "content-type", "x-acs-security-token"]
)
def test_what_decides_must_be_among_the_signed_headers(name: str) -> None:
    """Else whoever sees a call could send it again, changed."""
    request = call(method="POST", form={"A": "b"}).v3(**{"x-acs-security-token": "t"})
    authorization = request.header(b"authorization").decode()
    signed = authorization.partition("SignedHeaders=")[2].partition(",")[0]
    fewer = ";".join(one for one in signed.split(";") if one != name)
    unsigned = with_header(request, b"authorization", authorization.replace(signed, fewer).encode())
    assert code(unsigned) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda text: text.replace("ACS3-HMAC-SHA256", "ACS3-HMAC-SM3"), "InvalidSignatureMethod"),
        (lambda text: text.replace("ACS3-HMAC-SHA256", "ACS3-RSA-SHA256"), "InvalidSignatureMethod"),
        (lambda text: text.replace("ACS3-HMAC-SHA256", "Bearer"), "InvalidSignatureMethod"),
        (lambda _: "", "InvalidSignatureMethod"),
        (lambda text: text[:-1], "SignatureDoesNotMatch"),
        (lambda text: text.partition("Signature=")[0] + "Signature=", "SignatureDoesNotMatch"),
        (lambda text: text.partition("Signature=")[0] + "Signature=" + "0" * 64, "SignatureDoesNotMatch"),
        (lambda text: text.replace("Credential=", "Credential=,"), "SignatureDoesNotMatch"),
        (lambda text: text.replace(KEY, "AKnobody"), "InvalidAccessKeyId.NotFound"),
        (lambda text: text.replace(KEY, "AKtwo"), "SignatureDoesNotMatch"),
        (lambda text: text.replace(KEY, "AKoff"), "SignatureDoesNotMatch"),
    ],
)
def test_authorization(change: Callable[[str], str], refused: str) -> None:
    request = call().v3()
    assert (
        code(with_header(request, b"authorization", change(request.header(b"authorization").decode()).encode()))
        == refused
    )


@given(st.binary(max_size=200))
def test_no_noise_in_authorization_breaks_it(noise: bytes) -> None:
    with pytest.raises(Refusal):
        judged(with_header(call().v3(), b"authorization", b"ACS3-HMAC-SHA256 " + noise))


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"SignatureMethod": "HMAC-SHA256"}, "InvalidSignatureMethod"),
        ({"SignatureMethod": ""}, "InvalidSignatureMethod"),
        ({"SignatureVersion": "2.0"}, "InvalidSignatureMethod"),
        ({"SignatureType": "BEARERTOKEN"}, "InvalidSignatureMethod"),
        ({"SignatureNonce": ""}, "InvalidParameter.SignatureNonce"),
        ({"SignatureNonce": "n" * 300}, "InvalidParameter.SignatureNonce"),
        ({"Timestamp": "yesterday"}, "InvalidTimeStamp.Format"),
        ({"Timestamp": "2026-02-30T00:00:00Z"}, "InvalidTimeStamp.Format"),
        ({"Timestamp": ""}, "InvalidTimeStamp.Format"),
        ({"AccessKeyId": "AKnobody"}, "InvalidAccessKeyId.NotFound"),
    ],
)
def test_parameters_of_rpc_signing(change: dict[str, str], refused: str) -> None:
    assert code(call().v2(**change)) == refused


def test_what_rpc_clients_send_besides_is_let_in() -> None:
    judged(call().v2(SignatureType="", RegionId="cn-hangzhou", SecurityToken=""))


@WAYS
@pytest.mark.parametrize("side", [-1, 1])
def test_a_call_of_another_time_is_refused(sign: Callable[..., Request], side: int) -> None:
    judged(sign(call(at_ms=NOW + side * SKEW_MS)))
    assert code(sign(call(at_ms=NOW + side * (SKEW_MS + 1000)))) == "InvalidTimeStamp.Expired"


@WAYS
def test_either_of_two_live_secrets_signs(sign: Callable[..., Request]) -> None:
    for secret in ("old", "new"):
        judged(sign(call(key="AKtwo", secret=secret)))
    assert code(sign(call(key="AKtwo", secret="other"))) == "SignatureDoesNotMatch"


@WAYS
def test_that_a_key_is_switched_off_is_told_to_its_owner_alone(sign: Callable[..., Request]) -> None:
    assert code(sign(call(key="AKoff", secret="off"))) == "InvalidAccessKeyId.Inactive"
    assert code(sign(call(key="AKoff", secret="guessed"))) == "SignatureDoesNotMatch"


@WAYS
def test_every_comparison_takes_constant_time_and_an_unknown_key_the_same_work(
    sign: Callable[..., Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    in_constant_time = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return in_constant_time(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    judged(sign(call()))
    known, compared[:] = list(compared), []
    assert code(sign(call(secret="wrong"))) == "SignatureDoesNotMatch"
    wrong, compared[:] = list(compared), []
    assert code(sign(call(key="AKnobody"))) == "InvalidAccessKeyId.NotFound"
    assert known == wrong == compared
    assert known


@pytest.mark.parametrize("twice", ["InstanceId=a&InstanceId=a", "Signature=a&Signature=b"])
def test_a_parameter_that_stands_there_twice_is_refused(twice: str) -> None:
    request = replace(call().v3(), query=twice.encode())
    with pytest.raises(Refusal, match="more than once") as refused:
        judged(request)
    assert refused.value.code == f"InvalidParameter.{twice.partition('=')[0]}"


def test_a_parameter_in_query_and_form_is_refused() -> None:
    assert (
        code(call(method="POST", query={"InstanceId": "a"}, form={"InstanceId": "a"}).v2())
        == "InvalidParameter.InstanceId"
    )


@pytest.mark.parametrize("query", [b"A=%ff", b"A=%c3", "A=é".encode(), b"&".join(b"A%d=1" % n for n in range(200))])
def test_what_cannot_be_decoded_is_refused(query: bytes) -> None:
    assert code(replace(call().v3(), query=query)) == "InvalidParameter.Query"


def test_a_request_shows_nothing_of_itself() -> None:
    request = call(method="POST", form={"Secret": "canary"}).v3()
    assert "canary" not in repr(request)
    assert "canary" not in repr(judged(request))
