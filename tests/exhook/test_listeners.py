"""Which listener a client came in by, which instance decides there, and what its broker is taken for."""

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_under_test import INSTANCE, Serve, Store, identity, instance, permission

from exhook.listeners import DEFAULT, MOSQUITTO, MOSQUITTO_CERTIFICATES, ListenerRule, Listeners, Origin
from store.records import Instance, SignMode
from store.view import Listener

EMQX = "EMQX"


def origin(port: int = 1883, mountpoint: str = "", cluster: str = "emqxcl", sysdescr: str = EMQX) -> Origin:
    return Origin(port, mountpoint, cluster, sysdescr)


def found(rules: list[ListenerRule], asked: Origin, default_instance: str = "main") -> Listener:
    return Listeners(tuple(rules)).find(asked, default_instance)


class TestMosquitto:
    """The plugin's instance travels as the cluster's name, and `auth certificate` in what the broker says it is."""

    def test_the_plugin_names_its_instance(self) -> None:
        plant = origin(0, cluster="mqtt-plant", sysdescr=MOSQUITTO)
        assert found([], plant) == Listener("mosquitto/mqtt-plant", "mqtt-plant", emqx=False)
        assert found([], origin(0, cluster="", sysdescr=MOSQUITTO)) == Listener(DEFAULT, "main", emqx=False)

    def test_certificates_prove_where_the_plugin_says_so(self) -> None:
        proven = origin(0, cluster="mqtt-plant", sysdescr=MOSQUITTO_CERTIFICATES)
        assert found([], proven) == Listener("mosquitto/mqtt-plant", "mqtt-plant", external=True, emqx=False)
        rule = ListenerRule(name="r", cluster="mqtt-plant")
        assert found([rule], proven) == Listener("r", "mqtt-plant", external=True, emqx=False)

    def test_a_rule_goes_before_what_the_plugin_says(self) -> None:
        rule = ListenerRule(name="r", cluster="mqtt-plant", instance="other", external=True)
        asked = origin(0, cluster="mqtt-plant", sysdescr=MOSQUITTO)
        assert found([rule], asked) == Listener("r", "other", external=True, emqx=False)

    def test_the_name_of_an_emqx_cluster_is_no_instance(self) -> None:
        assert found([], origin(cluster="mqtt-plant")).instance == "main"


class TestFinding:
    @pytest.mark.parametrize(
        ("rule", "fits", "misses"),
        [
            (ListenerRule(name="r", port=8883), origin(8883), origin(1883)),
            (ListenerRule(name="r", port=0), origin(0), origin(1883)),
            (
                ListenerRule(name="r", mountpoint="tenant/a/"),
                origin(mountpoint="tenant/a/"),
                origin(mountpoint="tenant/a"),
            ),
            (ListenerRule(name="r", mountpoint=""), origin(mountpoint=""), origin(mountpoint="x")),
            (ListenerRule(name="r", cluster="east"), origin(cluster="east"), origin(cluster="East")),
            (ListenerRule(name="r", cluster=""), origin(cluster=""), origin(cluster="east")),
        ],
    )
    def test_by_port_mountpoint_or_cluster(self, rule: ListenerRule, fits: Origin, misses: Origin) -> None:
        assert found([rule], fits) == Listener("r", "main", mounted=bool(fits.mountpoint))
        assert found([rule], misses) == Listener(DEFAULT, "main", mounted=bool(misses.mountpoint))

    def test_every_criterion_that_is_given_must_fit(self) -> None:
        rule = ListenerRule(name="r", port=8883, mountpoint="m/", cluster="east")
        assert found([rule], origin(8883, "m/", "east")).name == "r"
        for miss in (origin(1883, "m/", "east"), origin(8883, "", "east"), origin(8883, "m/", "west")):
            assert found([rule], miss).name == DEFAULT

    def test_the_first_that_fits_wins(self) -> None:
        narrow, wide, rest = (
            ListenerRule(name="narrow", port=1, cluster="a"),
            ListenerRule(name="wide", port=1),
            ListenerRule(name="rest"),
        )
        assert found([narrow, wide, rest], origin(1, cluster="a")).name == "narrow"
        assert found([wide, narrow, rest], origin(1, cluster="a")).name == "wide"
        assert found([narrow, wide, rest], origin(1, cluster="b")).name == "wide"
        assert found([narrow, wide, rest], origin(2)).name == "rest"
        assert found([rest, narrow], origin(1, cluster="a")).name == "rest"

    @given(st.lists(st.tuples(*[st.none() | st.integers(0, 1)] * 3), max_size=4), st.tuples(*[st.integers(0, 1)] * 3))
    def test_as_the_rules_read(self, rules: list[tuple[int | None, ...]], asked: tuple[int, ...]) -> None:
        made = [
            ListenerRule(name=str(n), port=port, mountpoint=_text(mount), cluster=_text(cluster))
            for n, (port, mount, cluster) in enumerate(rules)
        ]
        fitting = [
            str(n) for n, rule in enumerate(rules) if all(w is None or w == a for w, a in zip(rule, asked, strict=True))
        ]
        listeners = Listeners(tuple(made))
        for _ in range(2):  # the second time from memory
            name = listeners.find(origin(asked[0], str(asked[1]), str(asked[2])), "main").name
            assert name == (fitting or [DEFAULT])[0]

    def test_a_rule_names_the_instance_or_leaves_it(self) -> None:
        rules = [ListenerRule(name="own", port=1, instance="other"), ListenerRule(name="same", port=2)]
        assert found(rules, origin(1)).instance == "other"
        assert found(rules, origin(2)).instance == "main"
        assert found(rules, origin(3), "").instance == ""

    def test_another_default_instance_is_not_answered_from_memory(self) -> None:
        listeners = Listeners(())
        assert listeners.find(origin(), "one").instance == "one"
        assert listeners.find(origin(), "two").instance == "two"

    def test_external(self) -> None:
        rules = [ListenerRule(name="certificates", port=8884, external=True)]
        assert found(rules, origin(8884)).external
        assert not found(rules, origin(8883)).external

    @pytest.mark.parametrize(
        ("sysdescr", "said", "emqx"),
        [
            ("EMQX", None, True),
            ("EMQX Enterprise", None, True),
            ("", None, True),  # v1 has no such field
            ("amqtt", None, False),
            ("Not EMQX", None, False),
            ("amqtt", True, True),
            ("EMQX", False, False),
        ],
    )
    def test_a_broker_is_what_it_says_unless_the_settings_know_better(
        self, sysdescr: str, said: bool | None, emqx: bool
    ) -> None:
        assert found([ListenerRule(name="r", emqx=said)], origin(sysdescr=sysdescr)).emqx is emqx
        if said is None:
            assert found([], origin(sysdescr=sysdescr)).emqx is emqx


class TestMemory:
    def test_what_is_found_is_found_once(self) -> None:
        listeners = Listeners((ListenerRule(name="r", port=1),))
        assert listeners.find(origin(1), "main") is listeners.find(origin(1), "main")

    def test_mountpoints_with_client_ids_in_them_do_not_fill_it(self) -> None:
        listeners = Listeners((ListenerRule(name="r", mountpoint="devices/500/"),))
        for number in range(5_000):
            listeners.find(origin(mountpoint=f"devices/{number}/"), "main")
        before = len(listeners._known)
        assert before <= 1_000
        tracemalloc.start()
        for number in range(5_000, 25_000):
            assert listeners.find(origin(mountpoint=f"devices/{number}/"), "main").name == DEFAULT
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(listeners._known) == before
        assert kept < 100_000
        assert listeners.find(origin(mountpoint="devices/500/"), "main").name == "r"


class TestNames:
    def test_a_listener_is_known_by_its_name(self) -> None:
        listeners = Listeners(
            (
                ListenerRule(name="a", port=1, instance="other", external=True),
                ListenerRule(name="b", emqx=False),
                ListenerRule(name="tenant", mountpoint="tenant/"),
            )
        )
        assert listeners.named("a", "main") == Listener("a", "other", external=True)
        assert listeners.named("b", "main") == Listener("b", "main", emqx=False)
        assert listeners.named(DEFAULT, "main") == Listener(DEFAULT, "main")
        assert listeners.named("tenant", "main") == Listener("tenant", "main", mounted=True)
        assert listeners.named("c", "main") is None
        assert listeners.named("", "main") is None


class TestServed:
    """The same through the real server, where the request itself says by what it came in."""

    async def test_each_listener_has_its_instance(self, serve: Serve, store: Store) -> None:
        store.put(
            Instance(name="mqtt-other", source="policy"),
            identity("alice", b"right"),
            replace(identity("bob", b"right"), instance="mqtt-other"),
        )
        rules = (
            ListenerRule(name="by-port", port=8883, instance="mqtt-other"),
            ListenerRule(name="by-mountpoint", mountpoint="other/", instance="mqtt-other"),
            ListenerRule(name="nowhere", port=1, instance="mqtt-absent"),
        )
        async with serve(instance=INSTANCE, listeners=rules) as served:
            for username, info, allowed in (
                ("alice", {}, True),
                ("bob", {}, False),
                ("alice", {"sockport": 8883}, False),
                ("bob", {"sockport": 8883}, True),
                ("bob", {"mountpoint": b"other/"}, True),
                ("alice", {"mountpoint": b"other/"}, False),
                ("alice", {"sockport": 1}, False),
                ("bob", {"sockport": 1}, False),
            ):
                assert await served.authenticate("c", username, b"right", **info) is allowed, (username, info)

    async def test_without_a_setting_the_only_instance_decides_and_of_two_none(
        self, serve: Serve, store: Store
    ) -> None:
        store.put(identity("alice", b"right"))
        async with serve() as served:
            assert await served.authenticate("c", "alice", b"right")
            store.put(Instance(name="mqtt-other", source="policy"))
            served.worker.reader.poll()
            assert not await served.authenticate("c", "alice", b"right")
            served.worker.reload(served.worker.settings.model_copy(update={"instance": INSTANCE}))
            assert await served.authenticate("c", "alice", b"right")

    async def test_a_listener_that_proves_by_itself_takes_external_identities_alone(
        self, serve: Serve, store: Store
    ) -> None:
        store.put(
            instance(),
            identity("alice", b"right"),
            identity("cert", mode=SignMode.EXTERNAL),
            permission("alice", "a/#"),
            permission("cert", "a/#"),
        )
        rules = (ListenerRule(name="certificates", port=8884, external=True),)
        async with serve(listeners=rules) as served:
            for port, alice, cert in ((1883, True, False), (8884, False, True)):
                assert await served.authorize("c", "alice", "PUBLISH", "a/b", sockport=port) is alice
                assert await served.authorize("d", "cert", "PUBLISH", "a/b", sockport=port) is cert
            assert not await served.authenticate("c", "alice", b"right", sockport=8884)
            assert not await served.authenticate("d", "cert", b"", sockport=1883)

    async def test_queue_and_delayed_are_read_as_emqx_reads_them_on_emqx_alone(
        self, serve: Serve, store: Store
    ) -> None:
        store.put(permission("alice", "a/#"), identity("alice", b"right"))
        rules = (ListenerRule(name="other-broker", port=1884, emqx=False),)
        async with serve(listeners=rules) as served:
            for port, read in ((1883, True), (1884, False)):
                assert await served.authorize("c", "alice", "SUBSCRIBE", "$queue/a/b", sockport=port) is read
                assert await served.authorize("c", "alice", "PUBLISH", "$delayed/5/a/b", sockport=port) is read
                assert await served.authorize("c", "alice", "SUBSCRIBE", "$share/g/a/b", sockport=port)


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def test_mountpoints_that_no_rule_names_are_one() -> None:
    """Each client may have its own, of up to 65,535 bytes."""
    listeners = Listeners((ListenerRule(name="r", mountpoint="tenant/"),))
    for number in range(50):
        assert listeners.find(origin(mountpoint=f"of/client-{number}/"), "main") == Listener(
            DEFAULT, "main", mounted=True
        )
    assert listeners.find(origin(mountpoint="tenant/"), "main").name == "r"
    assert not listeners.find(origin(), "main").mounted
    assert len(listeners._known) == 3
