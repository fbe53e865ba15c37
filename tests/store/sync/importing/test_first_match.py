"""What becomes of an order of rules where a DENY wins: one case for each thing that can happen."""

import pytest
from imports_under_test import emqx, losses, permissions, told

from store.sync.importing.leftovers import Sort

EVERYONE = {"everyone": True}


def anna(**said: object) -> dict[str, object]:
    return {"username": "anna", **said}


def test_a_denial_above_a_grant_is_written_as_it_is() -> None:
    made = emqx('{deny, all, publish, ["a/secret"]}.\n{allow, all, publish, ["a/#"]}.')
    assert permissions(made) == [EVERYONE | {"publish": ["a/#"], "deny": {"publish": ["a/secret"]}}]
    assert losses(made) == []


def test_a_catch_all_at_the_end_is_not_written() -> None:
    made = emqx('{allow, {user, "anna"}, publish, ["a"]}.\n{deny, all}.')
    assert permissions(made) == [anna(publish=["a"])]
    assert losses(made) == []
    why = "not needed, nothing below it is granted; written, it would win over other grants"
    assert told(made) == [f"acl.conf:2: note: {{deny, all}}: {why}"]


def test_a_denial_that_takes_nothing_from_anyone_is_written_though_it_is_not_needed() -> None:
    made = emqx('{allow, {user, "anna"}, publish, ["a"]}.\n{deny, {user, "anna"}, publish, ["b"]}.')
    assert permissions(made) == [anna(publish=["a"], deny={"publish": ["b"]})]
    assert told(made) == []


def test_a_needed_denial_takes_its_share_of_the_grant_above_it() -> None:
    made = emqx(
        '{allow, {user, "anna"}, publish, ["#"]}.\n{deny, all, publish, ["a/secret"]}.\n{allow, all, publish, ["a/#"]}.'
    )
    assert permissions(made) == [
        anna(publish=["#"]),
        EVERYONE | {"publish": ["a/#"], "deny": {"publish": ["a/secret"]}},
    ]
    what = '{allow, {user, "anna"}, publish, ["#"]}'
    why = "it does not reach over the denial of a/secret (line 2) below it: a denial wins here"
    instead = "narrow the denial to the clients that it is meant for"
    assert losses(made) == [f"acl.conf:1: stricter: {what}: {why}; {instead}"]


def test_a_grant_that_a_needed_denial_would_swallow_is_left_out() -> None:
    made = emqx(
        '{allow, {user, "anna"}, publish, ["a/secret"]}.\n'
        '{deny, all, publish, ["a/secret"]}.\n'
        '{allow, all, publish, ["a/#"]}.'
    )
    assert permissions(made) == [EVERYONE | {"publish": ["a/#"], "deny": {"publish": ["a/secret"]}}]
    what = '{allow, {user, "anna"}, publish, ["a/secret"]}'
    why = "line 2 denies all of it, and a denial wins here whatever the order"
    assert losses(made) == [f"acl.conf:1: left out: {what}: {why}; narrow the denial, then grant it"]


def test_a_denial_of_others_takes_nothing() -> None:
    made = emqx(
        '{allow, {user, "anna"}, publish, ["a/secret"]}.\n'
        '{deny, {user, "bob"}, publish, ["a/secret"]}.\n'
        '{allow, all, publish, ["a/#"]}.'
    )
    assert permissions(made) == [
        anna(publish=["a/secret"]),
        EVERYONE | {"publish": ["a/#"]},
        {"username": "bob", "deny": {"publish": ["a/secret"]}},
    ]
    assert losses(made) == []


def test_a_grant_that_is_never_reached_is_left_out_without_a_loss() -> None:
    made = emqx('{deny, all, publish, ["a/#"]}.\n{allow, {user, "anna"}, publish, ["a/b"]}.')
    assert permissions(made) == [EVERYONE | {"deny": {"publish": ["a/#"]}}]
    assert losses(made) == []
    assert "never reached, line 1 denies all of it first" in told(made, Sort.NOTE)[0]


def test_a_subscription_to_a_grant_that_a_denial_touches_is_told() -> None:
    made = emqx('{deny, all, subscribe, ["a/secret"]}.\n{allow, all, subscribe, ["a/#"]}.')
    assert permissions(made) == [EVERYONE | {"subscribe": ["a/#"], "deny": {"subscribe": ["a/secret"]}}]
    assert losses(made) == [
        (
            'acl.conf:2: stricter: {allow, all, subscribe, ["a/#"]}: a subscription that touches a/secret (line 1) is '
            "refused as a whole, to a/# itself, too; subscribe to filters that do not overlap a/secret (line 1)"
        )
    ]


class TestOneFilterAlone:
    """``{eq, FILTER}`` with wildcards denies a subscription to that filter, not to what it covers."""

    def test_of_a_grant_of_the_same_filter(self) -> None:
        made = emqx('{deny, all, subscribe, [{eq, "a/#"}]}.\n{allow, all, all, ["a/#"]}.')
        assert permissions(made) == [EVERYONE | {"publish": ["a/#"], "subscribe": ["a", "a/+/#"]}]
        assert losses(made) == []

    def test_of_a_grant_of_everything(self) -> None:
        made = emqx('{deny, all, subscribe, [{eq, "#"}]}.\n{allow, all, subscribe, ["#"]}.')
        assert permissions(made) == [EVERYONE | {"subscribe": ["+/#"]}]
        assert losses(made) == []

    def test_twice(self) -> None:
        made = emqx('{deny, all, subscribe, [{eq, "#"}, {eq, "+/#"}]}.\n{allow, all, subscribe, ["#"]}.')
        assert permissions(made) == [EVERYONE | {"subscribe": ["+", "+/+/#"]}]
        assert losses(made) == []

    def test_for_some_of_the_clients_is_denied_to_all_of_them(self) -> None:
        made = emqx('{deny, {user, "anna"}, subscribe, [{eq, "#"}]}.\n{allow, all, subscribe, ["#"]}.')
        assert permissions(made) == [EVERYONE | {"subscribe": ["+/#"]}]
        assert len(losses(made)) == 1
        assert "written without # itself, which line 1 denies to some" in losses(made)[0]

    @pytest.mark.parametrize("granted", ["#", "a/+"])
    def test_out_of_the_middle_of_a_grant_leaves_the_grant_out(self, granted: str) -> None:
        made = emqx(f'{{deny, all, subscribe, [{{eq, "a/+"}}]}}.\n{{allow, all, subscribe, ["{granted}"]}}.')
        assert permissions(made) == []
        assert "line 1 denies the one filter a/+ out of it, which cannot be said here" in losses(made)[0]

    def test_that_a_grant_does_not_cover_changes_nothing(self) -> None:
        made = emqx('{deny, all, subscribe, [{eq, "#"}]}.\n{allow, all, subscribe, ["a/#"]}.')
        assert permissions(made) == [EVERYONE | {"subscribe": ["a/#"]}]
        assert losses(made) == []

    def test_below_the_grant_comes_too_late(self) -> None:
        made = emqx('{allow, all, subscribe, ["#"]}.\n{deny, all, subscribe, [{eq, "#"}]}.')
        assert permissions(made) == [EVERYONE | {"subscribe": ["#"]}]
        assert losses(made) == []


class TestTopicsWithDollar:
    """EMQX lets a leading wildcard reach them."""

    def test_that_a_denial_reaches_are_denied_by_name(self) -> None:
        made = emqx('{deny, {user, "anna"}, all, ["#"]}.\n{allow, all, subscribe, ["$SYS/#", "$other"]}.')
        assert permissions(made) == [
            EVERYONE | {"subscribe": ["$SYS/#", "$other"]},
            anna(deny={"subscribe": ["#", "$SYS/#", "$other/#"]}),
        ]

    def test_are_denied_as_deep_as_the_denial_goes(self) -> None:
        made = emqx('{deny, {user, "anna"}, subscribe, ["+/x"]}.\n{allow, all, subscribe, ["$SYS/#"]}.')
        assert permissions(made)[1] == anna(deny={"subscribe": ["+/x", "$SYS/x"]})

    def test_are_not_denied_where_nobody_is_granted_them(self) -> None:
        made = emqx('{deny, {user, "anna"}, subscribe, ["+/x"]}.\n{allow, all, subscribe, ["a/x"]}.')
        assert permissions(made)[1] == anna(deny={"subscribe": ["+/x"]})


class TestPlaceholdersInDenials:
    """Another system's denial may bite a client whose name holds ``/`` or ``#``; ours would not reach so far."""

    def test_that_are_needed_are_denied_from_there_on(self) -> None:
        made = emqx('{deny, all, publish, ["a/${clientid}/b"]}.\n{allow, all, publish, ["#"]}.')
        assert permissions(made) == [EVERYONE | {"publish": ["#"], "deny": {"publish": ["a/#"]}}]
        assert "denied as a/#, for a name with `/` or `#` in it could step out" in losses(made)[0]

    def test_that_are_not_needed_stay_as_they_are(self) -> None:
        made = emqx('{allow, all, publish, ["b"]}.\n{deny, all, publish, ["a/${clientid}"]}.')
        assert permissions(made) == [EVERYONE | {"publish": ["b"], "deny": {"publish": ["a/${clientid}"]}}]
        assert told(made) == []

    def test_in_the_first_level_leave_out_what_is_below(self) -> None:
        made = emqx(
            '{allow, {user, "anna"}, publish, ["a"]}.\n'
            '{deny, all, publish, ["${clientid}/x"]}.\n'
            '{allow, all, publish, ["b/#"]}.'
        )
        assert permissions(made) == [anna(publish=["a"])]
        assert len(losses(made)) == 1
        assert losses(made)[0].startswith("acl.conf:3: left out:")
