"""The hot read side: one client's view of the records at one revision, cached by subject.

A view is put together from parts, one a subject (user name, client id, group, everyone, instance). All parts
in the cache hold for `Reader.revision`; a commit evicts the subjects that its change rows name, in the same
read transaction in which missing parts are read, so that no view mixes two revisions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from store.account_names import AccountName, Mode, account_of
from store.changes import marks_of, subjects_since
from store.concerned import concerned
from store.connection import file_at, reading, sidecars_of, without_sidecars
from store.database import Database
from store.kept import Kept, Unpacked
from store.losses import losses
from store.lost_proofs import lost_proofs
from store.part_cache import PartCache
from store.parts import OF_INSTANCE, Part, read_part
from store.records import Instance
from store.seal import SealKeys
from store.session import Session, Shared, session_of
from store.tables import Subject
from store.token_mode import Binding
from store.token_text import TokenKeys, named_key
from store.tokens import token_keys
from store.unavailable import told_clearly
from store.view import Account, Client, View, Works

MAX_SUBJECTS: Final = 400_000
"""How many subjects are kept; half of them, those of a hundred thousand clients with a user name each, for certain."""

MAX_SHARED: Final = 1_000
"""Of what many sessions have in common: one for each group of clients, and for each time that something ends."""

MAX_CHANGES: Final = 10_000
"""More changes than this at once, and dropping all is cheaper than evicting each."""

_NO_TOKEN_KEYS: Final = TokenKeys()


class Reader:
    """Views for one process. Not to be shared between threads."""

    def __init__(self, path: Path, keys: SealKeys, *, max_subjects: int = MAX_SUBJECTS) -> None:
        """Open the store for reading.

        Raises:
            StoreUnavailable, SealError: as `Database.open`.
        """
        self.path = path
        self.keys = keys
        self.max_subjects = max_subjects
        self.hits = 0
        self.misses = 0
        self.moves = 0
        """How often anything that was kept may have been dropped: a session that was checked since still stands."""
        self._parts = PartCache(max_subjects)
        self._instances: dict[str, Instance] = {}
        self._unpacked = Unpacked()
        self._shared: dict[Shared, Shared] = {}
        self._only_instance: str | None
        self._token_keys: TokenKeys | None
        self._has_tokens: bool | None
        self._seen: int
        self._adopt(Database.open(path, keys, create=False))

    def close(self) -> None:
        self._database.close()

    def __len__(self) -> int:
        return len(self._parts)

    def poll(self) -> bool:
        """Take notice of commits since the last call; whether there were any. Cheap where there were none.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with told_clearly(self.path):
            if self._replaced():
                self._open_other()
                return True
            version = self._data_version()
            if version == self._seen:
                return False
            with reading(self._database.connection):
                self._catch_up()
            self._seen = version
            return True

    def view(self, instance: str, client: Client, tokens: Sequence[str] = (), binding: Binding | None = None) -> View:
        """The records that concern a client, at one revision.

        A client in Token mode is concerned by the `tokens` (ids) that it shows, or by those of its `binding`.

        Raises:
            StoreUnavailable: the file cannot be read.
            SealError: a secret cannot be unsealed.
        """
        account = account_of(client.username) if "|" in client.username else None
        if account is not None and binding is not None:
            tokens = [token.token_id for token in binding.tokens]
        return self._view(account, concerned(instance, client, account, tokens), binding)[0]

    def session(self, instance: str, client: Client, now_ms: int) -> Session:
        """What a client may do without a doubt, for as long as `stands` says so; in Token mode, nothing.

        Raises:
            StoreUnavailable, SealError: as `view`.
        """
        account = account_of(client.username) if "|" in client.username else None
        view, kept = self._view(account, concerned(instance, client, account, ()), None)
        session = session_of(view, client, kept[1:], now_ms, self._once)
        session.checked = self.moves
        return session

    def stands(self, session: Session) -> bool:
        """Whether all that a session was made from is as it was, at the revision that decides now."""
        if session.checked == self.moves:
            return True
        instance = session.shared.instance
        if not session.current or instance is None:
            return False
        whole = self._parts.get(instance.name, OF_INSTANCE, "")
        if whole is None or not isinstance(whole.held, Part) or whole.held.instance is not instance:
            return False
        session.checked = self.moves
        return True

    def _kept(self, wanted: Sequence[Subject]) -> list[Kept]:
        """What there is of some subjects, all of one revision."""
        get = self._parts.get
        found = [kept for subject in wanted if (kept := get(*subject)) is not None]
        self.hits += len(found)
        if len(found) == len(wanted):
            return found
        self.misses += len(wanted) - len(found)
        with told_clearly(self.path), reading(self._database.connection):
            # `poll` alone says that it has seen a commit: it is `poll` that makes the worker report it.
            if self._data_version() != self._seen:
                self._catch_up()
            return [get(*subject) or self._load(subject) for subject in wanted]

    def _view(
        self, account: AccountName | None, wanted: Sequence[Subject], binding: Binding | None
    ) -> tuple[View, list[Kept]]:
        """A view, and what is kept of the subjects that it is put together from, which `concerned` named."""
        kept = self._kept(wanted)
        whole, user, own, grouped, everyone, *accounts = map(self._unpacked.part, kept, wanted)
        view = View(
            revision=self.revision,
            instance=whole.instance,
            group=grouped.group,
            blacklist=own.blacklist + user.blacklist,
            owners=own.identities,
            user=user.identities[0] if user.identities else None,
            user_grants=user.grants,
            client_grants=own.grants,
            group_grants=grouped.grants,
            all_grants=everyone.grants,
            works=whole.works or Works((), b""),
            device=own.device,
            account=None if account is None else self._account(account, accounts, binding),
        )
        return view, kept

    def token_keys(self, shown: Iterable[str] = ()) -> TokenKeys:
        """The keys that sign tokens; read anew where one of the `shown` token strings names another.

        Raises:
            StoreUnavailable: the file cannot be read.
            SealError: they cannot be unsealed.
        """
        keys = self._token_keys
        if keys is None or any((name := named_key(text)) and name not in keys.keys for text in shown):
            self._token_keys = keys = token_keys(self._database)
        return keys

    @property
    def has_tokens(self) -> bool:
        """Whether any token stands in the store: without one, none can be bound."""
        if self._has_tokens is None:
            with told_clearly(self.path):
                found = self._database.connection.execute("SELECT EXISTS (SELECT 1 FROM tokens)").fetchone()
            self._has_tokens = bool(found[0])
        return self._has_tokens

    @property
    def store_id(self) -> str:
        """Which store `revision` is one of."""
        return self._store_id

    def losses(self, since: int, until: int, now_ms: int) -> frozenset[Subject] | None:
        """Who lost something by the revisions after `since`, up to `until`; None where that cannot be told.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with told_clearly(self.path):
            return losses(self._database.connection, since, until, now_ms)

    def lost_proofs(self, since: int, until: int) -> frozenset[Subject]:
        """Whose sessions were proven by what no longer proves anything; see `store.lost_proofs`.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        with told_clearly(self.path):
            return lost_proofs(self._database.connection, since, until)

    def only_instance(self) -> str:
        """The one instance of the store; nothing where there are none or several.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        if self._only_instance is None:
            with told_clearly(self.path):
                rows = self._database.connection.execute("SELECT name FROM instances LIMIT 2").fetchall()
            self._only_instance = rows[0][0] if len(rows) == 1 else ""
        return self._only_instance

    def committed_at(self) -> int:
        """When the revision that decides was committed, in milliseconds since the epoch; 0 for an empty store.

        Raises:
            StoreUnavailable: the file cannot be read.
        """
        return self._at("revision = ?", self.revision)

    def committed_after(self, revision: int) -> int:
        """When the first revision after another was committed; 0 where there is none."""
        return self._at("revision > ? ORDER BY revision LIMIT 1", revision)

    def _at(self, where: str, revision: int) -> int:
        with told_clearly(self.path):
            query = f"SELECT at FROM revisions WHERE {where}"  # noqa: S608 - our own words
            row = self._database.connection.execute(query, (revision,)).fetchone()
        return row[0] if row else 0

    def _open_other(self) -> None:
        """Go over to the file that took the store's place; if it is no good, the old one goes on answering."""
        with without_sidecars(self.path, self._sidecars):
            other = Database.open(self.path, self.keys, create=False)
        self._database.close()
        self._adopt(other)

    def _adopt(self, database: Database) -> None:
        self._database = database
        database.connection.execute("PRAGMA query_only = ON")
        self._sidecars = sidecars_of(self.path)
        self._seen = self._data_version()
        self._store_id = self._database.store_id
        self.revision = self._database.revision
        self._deciding = marks_of(database.connection, self.revision)
        self.moves += 1
        self._parts.clear()
        self._instances.clear()
        self._only_instance = self._token_keys = self._has_tokens = None

    def _account(self, name: AccountName, parts: Sequence[Part], binding: Binding | None) -> Account:
        keyed, granted, *shown = parts
        return Account(
            name=name,
            key=keyed.key,
            grants=granted.grants,
            tokens={part.token.token_id: part.token for part in shown if part.token},
            token_keys=self.token_keys() if name.mode is Mode.TOKEN else _NO_TOKEN_KEYS,
            binding=binding,
        )

    def _once(self, shared: Shared) -> Shared:
        if len(self._shared) >= MAX_SHARED:
            self._shared.clear()
        return self._shared.setdefault(shared, shared)

    def _load(self, subject: Subject) -> Kept:
        part = self._same_instance(read_part(self._database, subject))
        kept = Kept(part, subject)
        # A name of account modes names its instance, too: for those that there never were, nothing is kept.
        if not subject.instance or subject.instance in self._instances:
            self._parts.put(*subject, kept)
        if kept.held is not part:
            self._unpacked.note(kept, part)
        return kept

    def _same_instance(self, part: Part) -> Part:
        """With the instance that was there before, if it is the same: sessions are made from it."""
        if (instance := part.instance) is None:
            return part
        known = self._instances.get(instance.name)
        if known != instance:
            self._instances[instance.name] = known = instance
        return replace(part, instance=known)

    def _catch_up(self) -> None:
        """Evict what commits since `revision` touched. Within a read transaction."""
        self._token_keys = self._has_tokens = None
        now_at = self._database.revision
        # A copy that was restored in place has the numbers of revisions again, for other commits.
        same = (
            self._database.store_id == self._store_id
            and marks_of(self._database.connection, self.revision) == self._deciding
        )
        if now_at == self.revision and same:
            return
        touched = None
        if now_at > self.revision and same:
            touched = subjects_since(self._database.connection, self.revision, MAX_CHANGES)
        self.moves += 1
        if touched is None:
            self._parts.clear()
        else:
            for subject in touched:
                self._parts.drop(*subject)
                # The instance's part holds what verifying costs there, which any identity may change.
                self._parts.drop(subject.instance, OF_INSTANCE, "")
        self._store_id = self._database.store_id
        self.revision = now_at
        self._deciding = marks_of(self._database.connection, now_at)
        self._only_instance = None

    def _replaced(self) -> bool:
        """Whether another file stands at the path now. A missing one is none: the open one still answers."""
        found = file_at(self.path)
        return found is not None and found != self._database.file

    def _data_version(self) -> int:
        return int(self._database.connection.execute("PRAGMA data_version").fetchone()[0])
