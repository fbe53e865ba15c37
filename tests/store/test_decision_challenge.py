"""Challenges: unknown names cost what known ones cost, and a verified password stands for one client alone."""

import pytest
from records_under_test import DRAW_KEY, NOW, asking, authenticated, challenged, instance, secret, user, view_of

from store.credentials import hash_password, verify, work_of
from store.decision import Challenge, Reason, conclude, select
from store.records import Record, SignMode
from store.view import Works

HASHED = hash_password(b"password")


class TestUnknownNames:
    """An unknown name and a wrong password do the same kind of work and answer alike (pitfall 8)."""

    POPULATION = (
        *(user(f"h{number}", HASHED, sign_mode=SignMode.HASHED) for number in range(6)),
        *(user(f"s{number}", sign_mode=SignMode.SIGNED) for number in range(3)),
        user("two", secret("a", id="1"), secret("b", id="2")),
    )

    def works(self) -> set[str]:
        return {work_of(identity.sign_mode, identity.secrets) for identity in self.POPULATION}

    def test_it_is_challenged_with_the_work_of_some_identity(self) -> None:
        drawn = set()
        for number in range(200):
            challenge = challenged([instance(), *self.POPULATION], asking(f"nobody-{number}"), b"x")
            drawn.add(work_of(challenge.mode, challenge.secrets))
        assert drawn == self.works()

    def test_a_name_is_always_given_the_same_work(self) -> None:
        records = [instance(), *self.POPULATION]
        for name in ("x", "root", "admin"):
            made = {
                work_of(found.mode, found.secrets)
                for found in (
                    challenged(records, asking(name, client_id), password, now_ms)
                    for client_id in ("c1", "c2")
                    for password in (b"a", b"b")
                    for now_ms in (NOW, NOW + 1)
                )
            }
            assert len(made) == 1

    def test_the_draw_is_weighted_and_stirs_little_when_the_population_does(self) -> None:
        names = [f"name-{number}" for number in range(3_000)]
        before = Works((("ORIGIN", 700), ("SIGNED", 300)), DRAW_KEY)
        after = Works((("SIGNED", 300), ("ORIGIN", 710)), DRAW_KEY)
        drawn = {name: before.draw(name)[0] for name in names}
        origins = sum(mode is SignMode.ORIGIN for mode in drawn.values())
        assert 0.67 < origins / len(names) < 0.73
        assert sum(after.draw(name)[0] is not drawn[name] for name in names) < 0.02 * len(names)

    def test_the_draw_depends_on_a_key(self) -> None:
        counts = (("ORIGIN", 1), ("SIGNED", 1))
        one, other = Works(counts, b"one"), Works(counts, b"other")
        assert any(one.draw(f"{number}") != other.draw(f"{number}") for number in range(64))

    @pytest.mark.parametrize("digest", [b"\0" * 32, b"\xff" * 32])
    def test_the_draw_survives_any_digest(self, digest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("store.view.hmac.digest", lambda *_: digest)
        assert Works((("SIGNED", 1),), DRAW_KEY).draw("x")[0] is SignMode.SIGNED

    def test_an_empty_instance_draws_something_too(self) -> None:
        challenge = challenged([instance()], asking("nobody"), b"x")
        assert challenge.secrets
        assert challenge.mode is SignMode.ORIGIN

    def test_no_password_lets_an_unknown_name_in(self) -> None:
        """Not even the dummy's own secret (pitfall 6)."""
        asker = asking("nobody")
        challenge = challenged([instance()], asker, b"exhook")
        proven = verify(challenge.mode, challenge.secrets, asker.client_id, b"exhook")
        for found in (proven, "", "1", None):
            decision = conclude(challenge, found)
            assert not decision.allow
            assert decision.reason is Reason.UNKNOWN_IDENTITY
            assert decision.secret_id == ""

    @pytest.mark.parametrize(
        "records",
        [
            [user("u", HASHED, sign_mode=SignMode.HASHED, expires_at=1)],
            [user("u", HASHED, sign_mode=SignMode.HASHED, client_ids_prefix="x")],
            [user("u", secret(HASHED, expires_at=1), sign_mode=SignMode.HASHED)],
            [user("u", sign_mode=SignMode.EXTERNAL), user("v", HASHED, sign_mode=SignMode.HASHED)],
            [user("v", HASHED, sign_mode=SignMode.HASHED)],
        ],
        ids=["expired", "not admitted", "secret expired", "EXTERNAL", "unknown"],
    )
    def test_every_refusal_costs_what_a_wrong_password_costs(self, records: list[Record]) -> None:
        asker = asking("u")
        challenge = challenged([instance(), *records], asker, b"password")
        assert work_of(challenge.mode, challenge.secrets) == "$argon2id$v=19$m=19456,t=2,p=1"
        assert not conclude(challenge, "1").allow


class TestChallenge:
    """What a verified password stands for, and what it does not."""

    def test_it_stands_while_nothing_but_the_revision_changes(self) -> None:
        asker, records = asking("u"), [instance(), user("u")]
        first, second = (select(view_of(records, asker, revision), asker, b"password", NOW) for revision in (1, 2))
        assert isinstance(first, Challenge)
        assert isinstance(second, Challenge)
        assert first.same_proof(second)
        assert conclude(second, "1").revision == 2

    @pytest.mark.parametrize(
        "changed",
        [
            user("u", "other"),
            user("u", secret(), secret("second", id="2")),
            user("u", expires_at=NOW),
            user("u", sign_mode=SignMode.SIGNED),
            user("u", note="changed"),
        ],
    )
    def test_it_falls_with_any_change_of_the_identity(self, changed: Record) -> None:
        asker = asking("u")
        first = challenged([instance(), user("u")], asker, b"password")
        assert not first.same_proof(challenged([instance(), changed], asker, b"password"))

    def test_it_is_one_clients_own(self) -> None:
        records = [instance(), user("u")]
        first, second = (challenged(records, asking("u", client_id), b"password") for client_id in ("c1", "c2"))
        assert not first.same_proof(second)

    def test_it_shows_no_secret(self) -> None:
        assert "password" not in repr(challenged([instance(), user("u")], asking("u"), b"x"))
        assert "password" not in repr(authenticated([instance(), user("u")], asking("u"))).replace("wrong_password", "")
