from pathlib import Path

import pytest
from imports_under_test import PUB, SUB, Installed, losses, mosquitto, permissions, told, written

from store.sync.findings import InvalidPolicy
from store.sync.importing.leftovers import Sort

FILE = """\
# A comment
user anna
topic read news/#
topic write home/anna/up
topic home/anna/both
topic deny home/anna/secret

user bob builder
topic readwrite  home/bob/a room

pattern readwrite dev/%c/#
pattern read user/%u/in
pattern read announce/#
"""


def test_a_file(tmp_path: Path) -> None:
    made = mosquitto(FILE)
    assert permissions(made) == [
        {
            "username": "anna",
            "publish": ["home/anna/up"],
            "subscribe": ["news/#"],
            "both": ["home/anna/both"],
            "deny": {"both": ["home/anna/secret"]},
        },
        {"username": "bob builder", "both": ["home/bob/a room"]},
        {"everyone": True, "subscribe": ["user/${username}/in", "announce/#"], "both": ["dev/${clientid}/#"]},
    ]
    assert losses(made) == []
    with Installed(tmp_path, written(made), users=["anna", "bob builder"], emqx=False) as store:
        assert store.may("anna", "c1", SUB, "news/today")
        assert store.may("anna", "c1", PUB, "home/anna/both")
        assert not store.may("anna", "c1", PUB, "news/today")
        assert store.may("anna", "c1", PUB, "dev/c1/x")
        assert not store.may("anna", "c1", PUB, "dev/c2/x")
        assert store.may("bob builder", "c2", SUB, "user/bob builder/in")
        assert store.may("bob builder", "c2", SUB, "announce/#")


def test_the_comments_name_the_lines() -> None:
    text = written(mosquitto(FILE))
    assert "  # acl:3-6\n  - username: anna\n" in text
    assert "  # acl:11-13\n  - everyone: true\n" in text


def test_users_may_come_again() -> None:
    made = mosquitto("user a\ntopic read x\nuser b\ntopic read y\nuser a\ntopic write x\n")
    assert permissions(made) == [{"username": "a", "both": ["x"]}, {"username": "b", "subscribe": ["y"]}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("topic a/b", {"both": ["a/b"]}),
        ("topic read", {"both": ["read"]}),
        ("  topic   read   a  ", {"subscribe": ["a"]}),
        ("topic read a\r", {"subscribe": ["a"]}),
        ("topic read %c/${x}", {"subscribe": ["%c/$${x}"]}),
        ("topic write $SYS/#", {"publish": ["$SYS/#"]}),
        ("topic write #", {"publish": ["#"]}),
        ("topic write +/+/#", {"publish": ["+/+/#"]}),
        ("topic write /", {"publish": ["/"]}),
    ],
)
def test_lines(line: str, said: dict[str, object]) -> None:
    made = mosquitto(f"user a\n{line}\n")
    assert permissions(made) == [{"username": "a", **said}]


def test_lines_for_clients_without_a_user_name_are_left_out() -> None:
    made = mosquitto("topic read a\ntopic deny b\nuser anna\ntopic read a\n")
    assert permissions(made) == [{"username": "anna", "subscribe": ["a"]}]
    (lost,) = losses(made)
    assert lost.startswith("acl:1: left out: topic read a: it stands before the first `user` line")
    assert [line.split(":")[1] for line in told(made, Sort.NOTE)] == ["2"]


def test_denials_come_first_wherever_they_stand() -> None:
    made = mosquitto("user anna\ntopic readwrite a/#\ntopic deny a/secret/#\n")
    assert permissions(made) == [{"username": "anna", "both": ["a/#"], "deny": {"both": ["a/secret/#"]}}]
    (lost,) = losses(made)
    assert lost.startswith("acl:2: stricter: topic readwrite a/#: a subscription that touches a/secret/# (line 3)")


def test_a_grant_of_a_user_stands_above_a_denial_by_pattern() -> None:
    made = mosquitto("user anna\ntopic read a/b\npattern deny a/b\npattern read a/#\n")
    assert permissions(made) == [{"everyone": True, "subscribe": ["a/#"], "deny": {"both": ["a/b"]}}]
    assert losses(made)[0].startswith("acl:2: left out: topic read a/b: line 3 denies all of it")


def test_a_denial_by_pattern_that_no_pattern_runs_into_is_not_needed() -> None:
    made = mosquitto("user anna\ntopic read a/b\npattern deny a/#\npattern read c\n")
    assert permissions(made) == [
        {"username": "anna", "subscribe": ["a/b"]},
        {"everyone": True, "subscribe": ["c"]},
    ]
    assert losses(made) == []


@pytest.mark.parametrize("topic", ["$share/g/a", "$queue/a"])
def test_topics_that_no_permission_can_hold(topic: str) -> None:
    assert "grant the topic behind the prefix" in losses(mosquitto(f"user a\ntopic read {topic}\n"))[0]
    made = mosquitto(f"user a\ntopic deny {topic}\ntopic read #\n")
    assert permissions(made) == [{"username": "a", "subscribe": ["#"]}]
    assert (len(losses(made)), len(told(made, Sort.NOTE))) == (0, 1)


@pytest.mark.parametrize("topic", ["$%c/a", "a/x$%u"])
def test_a_pattern_that_cannot_be_said(topic: str) -> None:
    made = mosquitto(f"pattern read {topic}\n")
    assert permissions(made) == []
    assert "a `$` before a placeholder cannot be written here" in losses(made)[0]
    made = mosquitto(f"pattern deny {topic}\npattern read $SYS/#\npattern read b\n")
    assert permissions(made) == []
    assert [line.split(":")[1] for line in losses(made)] == ["2", "3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("topics read a", "1:1: no line of an acl_file"),
        ("user a\ntopic\tread a", "2:1: no line of an acl_file"),
        (" # indented", "1:1: no line of an acl_file"),
        ("user", "1:1: no user name"),
        ("user   ", "1:1: no user name"),
        ("topic", "1:1: no topic"),
        ("topic reads a", "1:1: 'reads' is no access"),
        ("topic read a/b#", "1:1: 'a/b#' is no filter"),
        ("topic read #/a", "1:1: '#/a' is no filter"),
        ("topic read a+/b", "1:1: 'a+/b' is no filter"),
        ("pattern read +%c", "1:1: '+%c' is no filter"),
    ],
)
def test_what_mosquitto_would_not_load_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidPolicy) as raised:
        mosquitto(text)
    assert str(raised.value).startswith(f"acl:{message}")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(InvalidPolicy) as raised:
        mosquitto("user\ntopic read a\nx\n")
    assert [error.line for error in raised.value.errors] == [1, 3]
