"""Every call of the management API through the vendor's own clients, against a running server of two workers."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkonsmqtt.request.v20200420 import (
    ApplyTokenRequest,
    CreateGroupIdRequest,
    ListGroupIdRequest,
    QueryTokenRequest,
    RevokeTokenRequest,
)
from api_under_test import INSTANCE, KEY, OTHER, SECRET, Sdk, all_pages, api_port, make_store
from server_under_test import Asker, Server
from worker_under_test import Store

from store.clock import now_ms
from store.database import Database
from store.key_material import secret_of
from store.records import Action, BlacklistEntry, Effect, Grantee, Group, Identity, IdentityType, Permission, SignMode

HOUR_MS = 3_600_000
SUCCESS = {"Code": 200, "Success": True, "Message": "operation success."}
CLIENTS = [(asynchronous, algorithm) for asynchronous in (False, True) for algorithm in (None, "v2")]


@dataclass
class Running:
    server: Server
    store: Store
    port: int


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("api")
    store = make_store(folder / "exhook.db")
    _of_a_file(store)
    with Server(
        folder, "--api", "127.0.0.1:0", "--workers", "2", "--instance", INSTANCE, EXHOOK_API_RATE="0"
    ) as server:
        yield Running(server, store, api_port(server))


def _of_a_file(store: Store) -> None:
    """What a policy document owns."""
    owned: dict[str, Any] = {"instance": INSTANCE, "source": "plant", "origin": "policy.yaml:7"}
    with Database.open(store.path, store.keys) as database:
        secrets = (secret_of(database, b"of the file"),)
    store.put(
        Identity(
            identity_type=IdentityType.USER, username="filed", sign_mode=SignMode.SIGNED, secrets=secrets, **owned
        ),
        Identity(
            identity_type=IdentityType.CLIENT, username="filed", client_id="c", sign_mode=SignMode.EXTERNAL, **owned
        ),
        Permission(
            identity_type=Grantee.USER, identity="filed", topic="f/#", action=Action.SUB, effect=Effect.DENY, **owned
        ),
        Permission(
            identity_type=Grantee.ALL, identity="", topic="all/#", action=Action.SUB, effect=Effect.ALLOW, **owned
        ),
        BlacklistEntry(client_id="filed", **owned),
        Group(name="GID_Filed", **owned),
    )


@pytest.fixture(params=CLIENTS, ids=["v3", "v2", "v3-async", "v2-async"])
def sdk(running: Running, request: pytest.FixtureRequest) -> Sdk:
    asynchronous, algorithm = request.param
    return Sdk(running.port, algorithm=algorithm, asynchronous=asynchronous)


@pytest.fixture
def plain(running: Running) -> Sdk:
    return Sdk(running.port)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test uses."""
    return str(request.node.name).replace("test_", "").replace("[", "-").rstrip("]")[-40:] + " ü+&/"


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    assert len(answer.pop("RequestId")) == 36
    return answer


def test_identities(sdk: Sdk, name: str) -> None:
    for kind, client_id in (("USER", ""), ("CLIENT", "GID_A@@@1 ü+")):
        of = {"Username": name, "IdentityType": kind, "ClientId": client_id}
        shown = {**of, "Secret": "p w&ü", "SignMode": "ORIGIN"}
        added = sdk("AddCustomAuthIdentity", **of, Secret="p w&ü", SignMode="ORIGIN")
        assert without_id(added) == SUCCESS
        found = sdk("QueryCustomAuthIdentity", **of, Size=10)
        assert without_id(found) == {**SUCCESS, "Data": {"Results": [shown], "NextToken": ""}}
        assert without_id(sdk("UpdateCustomAuthIdentity", **of, Secret="q", SignMode="SIGNED")) == SUCCESS
        (changed,) = sdk("QueryCustomAuthIdentity", **of, Size=10)["Data"]["Results"]
        assert changed == {**shown, "Secret": "q", "SignMode": "SIGNED"}
        sdk("AddCustomAuthIdentity", **of, Secret="r", SignMode="ORIGIN")  # Add overwrites
        (again,) = sdk("QueryCustomAuthIdentity", Username=name, IdentityType=kind, Size=1)["Data"]["Results"]
        assert again == {**shown, "Secret": "r"}
        for _ in range(2):  # what is gone is gone
            assert without_id(sdk("DeleteCustomAuthIdentity", **of)) == SUCCESS
        assert sdk("QueryCustomAuthIdentity", **of, Size=10)["Data"]["Results"] == []


def test_permissions(sdk: Sdk, name: str) -> None:
    for kind in ("USER", "CLIENT"):
        of = {"Identity": name, "IdentityType": kind, "Topic": "plant/+/up/#"}
        given = sdk("AddCustomAuthPermission", **of, PermitAction="PUB", Effect="ALLOW")
        assert without_id(given) == SUCCESS
        found = sdk("QueryCustomAuthPermission", **of, Size=10)
        shown = {**of, "PermitAction": "PUB", "Effect": "ALLOW"}
        assert without_id(found) == {**SUCCESS, "Data": {"Results": [shown], "NextToken": ""}}
        sdk("UpdateCustomAuthPermission", **of, PermitAction="PUB_SUB", Effect="DENY")
        (changed,) = sdk("QueryCustomAuthPermission", **of, Size=10)["Data"]["Results"]
        assert changed == {**of, "PermitAction": "PUB_SUB", "Effect": "DENY"}
        sdk("AddCustomAuthPermission", **of, PermitAction="SUB", Effect="ALLOW")  # Add overwrites, another effect, too
        (again,) = sdk("QueryCustomAuthPermission", Identity=name, IdentityType=kind, Size=10)["Data"]["Results"]
        assert again == {**of, "PermitAction": "SUB", "Effect": "ALLOW"}
        for _ in range(2):
            assert without_id(sdk("DeleteCustomAuthPermission", **of)) == SUCCESS
        assert sdk("QueryCustomAuthPermission", **of, Size=10)["Data"]["Results"] == []


def test_blacklist(sdk: Sdk, name: str) -> None:
    for _ in range(2):
        assert without_id(sdk("AddCustomAuthConnectBlack", ClientId=name)) == SUCCESS
    found = sdk("QueryCustomAuthConnectBlack", ClientId=name, Size=10)
    shown = {"ClientId": name, "PermitAction": "CONNECT", "Effect": "DENY"}
    assert without_id(found) == {**SUCCESS, "Data": {"Results": [shown], "NextToken": ""}}
    for _ in range(2):
        assert without_id(sdk("DeleteCustomAuthConnectBlack", ClientId=name)) == SUCCESS
    assert sdk("QueryCustomAuthConnectBlack", ClientId=name, Size=10)["Data"]["Results"] == []


def test_tokens(sdk: Sdk) -> None:
    asked = {"Resources": "a/+/b,c d/#", "Actions": "R,W", "ExpireTime": now_ms() + HOUR_MS}
    issued = sdk("ApplyToken", **asked)
    assert issued.keys() == {"RequestId", "Token"}
    assert "|" not in issued["Token"]
    token = {"Token": issued["Token"]}
    assert without_id(sdk("QueryToken", **token)) == {"TokenStatus": True}
    for _ in range(2):
        assert without_id(sdk("RevokeToken", **token)) == {}
    assert without_id(sdk("QueryToken", **token)) == {"TokenStatus": False}
    assert sdk("QueryToken", Token="forged")["TokenStatus"] is False


def test_device_credentials(sdk: Sdk, name: str) -> None:
    client_id = {"ClientId": f"GID_Dev@@@{name}"}
    made = sdk("RegisterDeviceCredential", **client_id)["DeviceCredential"]
    assert made.keys() == {
        "ClientId", "DeviceAccessKeyId", "DeviceAccessKeySecret", "InstanceId", "CreateTime", "UpdateTime"
    }  # fmt: skip
    assert (made["ClientId"], made["InstanceId"]) == (client_id["ClientId"], INSTANCE)
    assert abs(made["CreateTime"] - now_ms()) < HOUR_MS
    assert sdk("GetDeviceCredential", **client_id)["DeviceCredential"] == made
    assert sdk.refused("RegisterDeviceCredential", **client_id).code == "DeviceCredentialExsit"
    fresh = sdk("RefreshDeviceCredential", **client_id)["DeviceCredential"]
    for changed in ("DeviceAccessKeyId", "DeviceAccessKeySecret"):
        assert fresh[changed] != made[changed]
    assert fresh["CreateTime"] == made["CreateTime"] <= fresh["UpdateTime"]
    listed = sdk("ListDeviceCredentialClientId", GroupId="GID_Dev", PageSize="100", PageNo="1")
    assert client_id["ClientId"] in listed["DeviceCredentialClientIdList"]["ClientIdList"]
    for _ in range(2):
        assert without_id(sdk("UnRegisterDeviceCredential", **client_id)) == {}
    for gone in ("GetDeviceCredential", "RefreshDeviceCredential"):
        assert sdk.refused(gone, **client_id).code == "DeviceCredentialNotFound"


def test_groups(sdk: Sdk, request: pytest.FixtureRequest) -> None:
    group = {"GroupId": "GID_Sdk-" + request.node.callspec.id}
    for _ in range(2):
        assert without_id(sdk("CreateGroupId", **group)) == {}
    listed = sdk("ListGroupId")["Data"]
    (found,) = [one for one in listed if one["GroupId"] == group["GroupId"]]
    assert (found["InstanceId"], found["IndependentNaming"]) == (INSTANCE, True)
    assert abs(found["CreateTime"] - now_ms()) < HOUR_MS
    for _ in range(2):
        assert without_id(sdk("DeleteGroupId", **group)) == {}
    assert group["GroupId"] not in [one["GroupId"] for one in sdk("ListGroupId")["Data"]]


def test_the_older_client(running: Running) -> None:
    client = AcsClient(KEY, SECRET, "cn-hangzhou")

    def call(module: Any, **parameters: str) -> Any:
        request = getattr(module, module.__name__.rpartition(".")[2])()
        request.set_protocol_type("http")
        request.set_endpoint(f"127.0.0.1:{running.port}")
        for parameter, value in {"InstanceId": INSTANCE, **parameters}.items():
            getattr(request, f"set_{parameter}")(value)
        return json.loads(client.do_action_with_exception(request))

    made = call(ApplyTokenRequest, Resources="a/+,b/#", Actions="R", ExpireTime=str(now_ms() + HOUR_MS))["Token"]
    assert call(QueryTokenRequest, Token=made)["TokenStatus"] is True
    call(RevokeTokenRequest, Token=made)
    assert call(QueryTokenRequest, Token=made)["TokenStatus"] is False
    call(CreateGroupIdRequest, GroupId="GID_older")
    assert "GID_older" in [one["GroupId"] for one in call(ListGroupIdRequest)["Data"]]
    with pytest.raises(ServerException) as refused:
        call(CreateGroupIdRequest, GroupId="no group")
    assert (refused.value.get_error_code(), refused.value.get_http_status()) == ("InvalidParameter.GroupId", 400)


IDENTITY = {"Username": "u", "IdentityType": "USER", "Secret": "s", "SignMode": "ORIGIN"}
PERMISSION = {"Identity": "u", "IdentityType": "USER", "Topic": "t", "PermitAction": "PUB", "Effect": "ALLOW"}
TOKEN = {"Resources": "a/b", "Actions": "R", "ExpireTime": 0}

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    *(("AddCustomAuthIdentity", {**IDENTITY, missing: ""}, f"InvalidParameter.{missing}")
      for missing in ("Username", "IdentityType", "Secret")),
    ("AddCustomAuthIdentity", {**IDENTITY, "Username": "u" * 65}, "InvalidParameter.Username"),
    ("AddCustomAuthIdentity", {**IDENTITY, "Username": "Token|u|i"}, "InvalidParameter.Username"),
    ("AddCustomAuthIdentity", {**IDENTITY, "Username": "Signature|u"}, "InvalidParameter.Username"),
    ("AddCustomAuthIdentity", {**IDENTITY, "Username": "u\0"}, "InvalidParameter.Username"),
    ("AddCustomAuthIdentity", {**IDENTITY, "IdentityType": "GROUP"}, "InvalidParameter.IdentityType"),
    ("AddCustomAuthIdentity", {**IDENTITY, "IdentityType": "CLIENT"}, "InvalidParameter.ClientId"),
    ("AddCustomAuthIdentity", {**IDENTITY, "SignMode": "HASHED"}, "InvalidParameter.SignMode"),
    ("AddCustomAuthIdentity", {**IDENTITY, "Secret": "s" * 5000}, "InvalidParameter.Secret"),
    ("AddCustomAuthIdentity", {**IDENTITY, "Username": "filed"}, "InvalidParameter.Username"),
    ("UpdateCustomAuthIdentity", {**IDENTITY, "Username": "filed"}, "InvalidParameter.Username"),
    ("DeleteCustomAuthIdentity", {"Username": "filed", "IdentityType": "USER"}, "InvalidParameter.Username"),
    ("UpdateCustomAuthIdentity", {**IDENTITY, "Username": "missing"}, "InvalidParameter.Username"),
    *(("AddCustomAuthPermission", {**PERMISSION, missing: ""}, f"InvalidParameter.{missing}")
      for missing in PERMISSION),
    ("AddCustomAuthPermission", {**PERMISSION, "Topic": "a/#/b"}, "InvalidParameter.Topic"),
    ("AddCustomAuthPermission", {**PERMISSION, "Topic": "$share/g/a"}, "InvalidParameter.Topic"),
    ("AddCustomAuthPermission", {**PERMISSION, "IdentityType": "ALL"}, "InvalidParameter.IdentityType"),
    ("AddCustomAuthPermission", {**PERMISSION, "PermitAction": "CONNECT"}, "InvalidParameter.PermitAction"),
    ("AddCustomAuthPermission", {**PERMISSION, "Effect": "allow"}, "InvalidParameter.Effect"),
    ("UpdateCustomAuthPermission", {**PERMISSION, "Topic": "missing"}, "InvalidParameter.Topic"),
    ("UpdateCustomAuthPermission", {**PERMISSION, "Identity": "filed", "Topic": "f/#"}, "InvalidParameter.Topic"),
    ("DeleteCustomAuthPermission", {"Identity": "filed", "IdentityType": "USER", "Topic": "f/#"},
     "InvalidParameter.Topic"),
    ("AddCustomAuthConnectBlack", {"ClientId": ""}, "InvalidParameter.ClientId"),
    ("DeleteCustomAuthConnectBlack", {"ClientId": "filed"}, "InvalidParameter.ClientId"),
    *((f"QueryCustomAuth{what}", {"Size": size}, "InvalidParameter.Size")
      for what in ("Identity", "Permission", "ConnectBlack") for size in (0, 101, None)),
    *((f"QueryCustomAuth{what}", {"Size": 1, "NextToken": "forged"}, "InvalidParameter.NextToken")
      for what in ("Identity", "Permission", "ConnectBlack")),
    ("ApplyToken", {**TOKEN, "ExpireTime": 1}, "InvalidParameter.ExpireTime"),
    ("ApplyToken", {**TOKEN, "ExpireTime": None}, "InvalidParameter.ExpireTime"),
    ("ApplyToken", {**TOKEN, "Actions": "X"}, "InvalidParameter.Actions"),
    ("ApplyToken", {**TOKEN, "Resources": ""}, "InvalidParameter.Resources"),
    ("ApplyToken", {**TOKEN, "Resources": ",".join(f"a/{n}" for n in range(101))}, "InvalidParameter.Resources"),
    ("ApplyToken", {**TOKEN, "Resources": "a/#/b"}, "ParameterCheckFailed"),
    ("ApplyToken", {**TOKEN, "Resources": "$share/g/a"}, "ParameterCheckFailed"),
    ("QueryToken", {"Token": ""}, "InvalidParameter.Token"),
    ("RevokeToken", {"Token": "forged"}, "InvalidParameter.Token"),
    ("RegisterDeviceCredential", {"ClientId": ""}, "InvalidParameter.ClientId"),
    ("GetDeviceCredential", {"ClientId": "missing"}, "DeviceCredentialNotFound"),
    ("RefreshDeviceCredential", {"ClientId": "missing"}, "DeviceCredentialNotFound"),
    ("ListDeviceCredentialClientId", {"PageSize": "101"}, "InvalidParameter.PageSize"),
    ("ListDeviceCredentialClientId", {"PageNo": "0"}, "InvalidParameter.PageNo"),
    ("CreateGroupId", {"GroupId": "no group"}, "InvalidParameter.GroupId"),
    ("CreateGroupId", {"GroupId": "GID_Filed"}, "InvalidParameter.GroupId"),
    ("DeleteGroupId", {"GroupId": "GID_Filed"}, "InvalidParameter.GroupId"),
    ("SendMessage", {"MqttTopic": "a", "Payload": "b"}, "ApiNotSupport"),
    ("QueryCustomAuthIdentity", {"InstanceId": "", "Size": 1}, "InvalidParameter.InstanceId"),
    *(("QueryCustomAuthIdentity", {"InstanceId": other, "Size": 1}, "InstancePermissionCheckFailed")
      for other in (OTHER, "mqtt-unknown")),
]  # fmt: skip


@pytest.mark.parametrize(("action", "parameters", "code"), REFUSED, ids=[f"{n}-{c[0]}" for n, c in enumerate(REFUSED)])
def test_what_is_refused_is_raised_by_the_client(
    plain: Sdk, action: str, parameters: dict[str, Any], code: str
) -> None:
    given = {name: value for name, value in parameters.items() if value is not None}
    if "Actions" in given and given.get("ExpireTime") == 0:
        given["ExpireTime"] = now_ms() + HOUR_MS
    error = plain.refused(action, **given)
    assert error.code == code
    assert error.status_code == (404 if code == "ApiNotSupport" else 400)
    assert error.data["HostId"].startswith("127.0.0.1:")
    assert error.data.keys() >= {"RequestId", "HostId", "Code", "Message"}


@pytest.mark.parametrize(
    ("action", "parameters"),
    [
        ("AddCustomAuthIdentity", {**IDENTITY, "Username": "filed"}),
        ("DeleteCustomAuthPermission", {"Identity": "filed", "IdentityType": "USER", "Topic": "f/#"}),
        ("DeleteCustomAuthConnectBlack", {"ClientId": "filed"}),
        ("DeleteGroupId", {"GroupId": "GID_Filed"}),
    ],
)
def test_what_a_file_owns_is_refused_with_its_owner_and_place(
    plain: Sdk, action: str, parameters: dict[str, Any]
) -> None:
    assert "'plant' (policy.yaml:7)" in str(plain.refused(action, **parameters))


def test_permissions_of_a_file_and_of_the_api_stand_side_by_side(plain: Sdk) -> None:
    of = {"Identity": "filed", "IdentityType": "USER", "Topic": "f/#"}
    plain("AddCustomAuthPermission", **of, PermitAction="PUB", Effect="ALLOW")
    found = plain("QueryCustomAuthPermission", **of, Size=10)["Data"]["Results"]
    assert sorted((one["Effect"], one["PermitAction"]) for one in found) == [("ALLOW", "PUB"), ("DENY", "SUB")]
    plain("DeleteCustomAuthPermission", **of)
    (left,) = plain("QueryCustomAuthPermission", **of, Size=10)["Data"]["Results"]
    assert left["Effect"] == "DENY"


def test_who_may_not_see_secrets_sees_stars(running: Running, plain: Sdk) -> None:
    plain("AddCustomAuthIdentity", **{**IDENTITY, "Username": "hidden", "Secret": "canary"})
    credential = plain("RegisterDeviceCredential", ClientId="hidden")["DeviceCredential"]
    small = Sdk(running.port, key="AKsmall")
    (shown,) = small("QueryCustomAuthIdentity", Username="hidden", Size=1)["Data"]["Results"]
    assert shown["Secret"] == "******"
    masked = small("GetDeviceCredential", ClientId="hidden")["DeviceCredential"]
    assert masked == {**credential, "DeviceAccessKeySecret": "******"}


def test_a_hash_and_what_has_no_secret_show_none(plain: Sdk) -> None:
    (shown,) = plain("QueryCustomAuthIdentity", Username="filed", IdentityType="CLIENT", Size=1)["Data"]["Results"]
    assert (shown["Secret"], shown["SignMode"]) == ("", "EXTERNAL")


@pytest.mark.parametrize(
    ("key", "code", "status"),
    [
        ("AKnobody", "InvalidAccessKeyId.NotFound", 404),
        ("AKoff", "InvalidAccessKeyId.Inactive", 400),
        ("AKpast", "InvalidAccessKeyId.Inactive", 400),
        ("AKdevice", "InstancePermissionCheckFailed", 400),
    ],
)
def test_keys_that_sign_no_call(running: Running, key: str, code: str, status: int) -> None:
    error = Sdk(running.port, key=key).refused("QueryCustomAuthIdentity", Size=1)
    assert (error.code, error.status_code) == (code, status)


def test_an_instance_that_a_key_names_and_that_is_not_there(running: Running) -> None:
    small = Sdk(running.port, key="AKsmall")
    for action, parameters in (("QueryCustomAuthIdentity", {"Size": 1}), ("AddCustomAuthIdentity", IDENTITY)):
        error = small.refused(action, **parameters, InstanceId="mqtt-gone")
        assert error.code == "InstancePermissionCheckFailed"


def test_a_wrong_secret(running: Running) -> None:
    error = Sdk(running.port, secret="wrong").refused("QueryCustomAuthIdentity", Size=1)
    assert (error.code, error.status_code) == ("SignatureDoesNotMatch", 400)


def test_no_token_for_more_than_the_key_may_do_itself(running: Running) -> None:
    small = Sdk(running.port, key="AKsmall")
    until = now_ms() + HOUR_MS
    assert small("ApplyToken", Resources="small/a,small/#", Actions="R", ExpireTime=until)["Token"]
    for resources, actions in (("small/a", "W"), ("small/a", "R,W"), ("small/a,other", "R"), ("#", "R")):
        error = small.refused("ApplyToken", Resources=resources, Actions=actions, ExpireTime=until)
        assert (error.code, error.status_code) == ("PermissionCheckFailed", 400)


def test_an_end_over_thirty_days_is_cut_in_silence(plain: Sdk) -> None:
    token = plain("ApplyToken", Resources="a", Actions="R", ExpireTime=now_ms() + 365 * 24 * HOUR_MS)["Token"]
    assert int(token.split(".")[3]) <= now_ms() + 30 * 24 * HOUR_MS


def test_pages_hold_everything_once_whatever_is_written_meanwhile(plain: Sdk) -> None:
    names = [f"page {number:02}" for number in range(23)]
    for name in names:
        plain("AddCustomAuthIdentity", **{**IDENTITY, "Username": name})
    seen, token, page = [], "", 0
    while True:
        data = plain("QueryCustomAuthIdentity", Size=5, NextToken=token, IdentityType="USER")["Data"]
        seen += [one["Username"] for one in data["Results"]]
        assert len(data["Results"]) <= 5
        token = data["NextToken"]
        if not token:
            break
        page += 1
        # What comes and goes beside, also the very record that the token names, moves no other.
        plain("AddCustomAuthIdentity", **{**IDENTITY, "Username": f"page 00 {page}"})
        if page in (2, 3):
            plain("DeleteCustomAuthIdentity", Username=seen[-1], IdentityType="USER")
    assert [name for name in seen if name in names] == names
    assert len(seen) == len(set(seen))


def test_a_token_of_a_page_counts_for_its_question_alone(plain: Sdk) -> None:
    for number in range(3):
        plain("AddCustomAuthConnectBlack", ClientId=f"token {number}")
        plain("AddCustomAuthPermission", **{**PERMISSION, "Topic": f"token/{number}"})
    token = plain("QueryCustomAuthPermission", Identity="u", Size=1)["Data"]["NextToken"]
    assert plain("QueryCustomAuthPermission", Identity="u", Size=2, NextToken=token)["Data"]["Results"]
    for action, more in (
        ("QueryCustomAuthPermission", {"Identity": "v"}),
        ("QueryCustomAuthPermission", {}),
        ("QueryCustomAuthConnectBlack", {}),
    ):
        assert plain.refused(action, Size=1, NextToken=token, **more).code == "InvalidParameter.NextToken"
    for at in (0, len(token) // 2, len(token) - 1):
        other = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        error = plain.refused("QueryCustomAuthPermission", Identity="u", Size=1, NextToken=other)
        assert error.code == "InvalidParameter.NextToken"
    found = [one["ClientId"] for one in all_pages(
        lambda token: plain("QueryCustomAuthConnectBlack", Size=1, NextToken=token)
    )]  # fmt: skip
    assert len(found) == len(set(found)) >= 3


def test_pages_of_device_credentials_by_number_and_by_token(plain: Sdk) -> None:
    client_ids = [f"GID_Page@@@{number:02}" for number in range(7)]
    for client_id in [*client_ids, "GID_PageX@@@1", "GID_Pag@@@1"]:
        plain("RegisterDeviceCredential", ClientId=client_id)

    def ask(**more: str) -> Any:
        found = plain("ListDeviceCredentialClientId", GroupId="GID_Page", PageSize="3", **more)
        assert all(isinstance(value, str) for name, value in found["DeviceCredentialClientIdList"].items()
                   if name != "ClientIdList")  # fmt: skip
        return found["DeviceCredentialClientIdList"]

    first = ask()
    assert (first["Total"], first["PageNo"], first["PageSize"]) == ("7", "1", "3")
    numbered = [client_id for number in "123" for client_id in ask(PageNo=number)["ClientIdList"]]
    second = ask(NextToken=first["NextToken"])
    third = ask(NextToken=second["NextToken"])
    assert third["NextToken"] == ""
    assert numbered == first["ClientIdList"] + second["ClientIdList"] + third["ClientIdList"] == client_ids


def test_what_a_call_wrote_is_in_force_in_every_worker_when_it_answers(running: Running, plain: Sdk) -> None:
    of = {"Username": "fresh", "IdentityType": "USER"}
    with Asker(running.server.port) as one, Asker(running.server.port) as two, Asker(running.server.port) as three:
        askers = (one, two, three)  # the kernel spreads them over the two workers as it likes

        def connects(password: str) -> set[bool]:
            return {asker.connects("fresh-1", "fresh", password.encode()) for asker in askers}

        for turn in range(4):
            plain("AddCustomAuthIdentity", **of, Secret=f"secret {turn}", SignMode="ORIGIN", InstanceId=INSTANCE)
            assert connects(f"secret {turn}") == {True}
            assert connects(f"secret {turn - 1}") == {False}
            plain("DeleteCustomAuthIdentity", **of)
            assert connects(f"secret {turn}") == {False}


def test_the_history_names_the_access_key(running: Running, plain: Sdk) -> None:
    plain("AddCustomAuthConnectBlack", ClientId="audited")
    with Database.open(running.store.path, running.store.keys) as database:
        actor, source = database.connection.execute(
            "SELECT actor, revisions.source FROM revisions JOIN changes USING (revision) WHERE record_key LIKE ?",
            ("%audited%",),
        ).fetchone()
    assert (actor, source) == (f"access-key {KEY}", "api")


def test_each_answer_has_its_line_in_the_log(running: Running, plain: Sdk) -> None:
    request_id = plain("QueryCustomAuthIdentity", Size=1)["RequestId"]
    line = running.server.line("api call", request_id=request_id)
    assert line["action"] == "QueryCustomAuthIdentity"
    assert line["access_key"] == KEY
    error = plain.refused("QueryCustomAuthIdentity", Size=0)
    assert running.server.line("api call", request_id=error.data["RequestId"])["code"] == "InvalidParameter.Size"


def test_no_secret_stands_in_the_log_or_the_runtime_file(running: Running, plain: Sdk) -> None:
    plain("AddCustomAuthIdentity", **{**IDENTITY, "Secret": "canary-sdk-91c2"})
    plain.refused("AddCustomAuthIdentity", **{**IDENTITY, "Secret": "canary-sdk-91c2", "IdentityType": "x"})
    credential = plain("RegisterDeviceCredential", ClientId="canary")["DeviceCredential"]
    token = plain("ApplyToken", Resources="a", Actions="R", ExpireTime=now_ms() + HOUR_MS)["Token"]
    request_id = plain.refused("RevokeToken", Token=token + "x").data["RequestId"]
    running.server.line("api call", request_id=request_id)
    runtime = b"".join(file.read_bytes() for file in running.store.path.parent.glob("*.runtime.db*"))
    for secret in ("canary-sdk-91c2", credential["DeviceAccessKeySecret"], token, SECRET):
        assert secret not in running.server.said
        assert secret.encode() not in runtime
