"""References to secrets: where a secret is to be found, and finding it.

A policy file names its secrets, it does not hold them; whoever may propose a change to the file must not be able
to read other variables or files of the machine that applies it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from store.records import SecretForm, SignMode

Kind = Literal["env", "file", "hash", "literal", "stored"]

ENV_PREFIX: Final = "EXHOOK_SECRET_"
"""What the names of readable variables begin with, unless `allow_env` lifts the rule."""

DEFAULT_SECRET: Final = "default"  # noqa: S105 - the name of a secret
"""The id of a secret that was given none."""

MAX_BYTES: Final = 65_535
"""An MQTT password is no longer (MQTT 5.0, 3.1.3.6), and no key needs to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretReference:
    """Where one secret of an identity is to be found. Its value never shows in `repr`."""

    id: str
    kind: Kind
    value: str = field(repr=False)
    """The variable, the file, the hash, or the secret itself; nothing for `stored`."""
    expires_at: int | None = None
    """Milliseconds since the epoch."""
    origin: str
    """``file:line:column`` of the reference; ``file:line`` in a file of rows."""


class UnresolvedSecret(ValueError):
    """A secret that cannot be had. The message names place, variable or file, and the mend, never the secret."""


@dataclass(frozen=True)
class SecretSources:
    """Where secrets may be read from."""

    environ: Mapping[str, str] = field(repr=False)
    secrets_dir: Path | None
    """The one folder below which files may be read; None for none."""
    allow_env: bool = False
    """Whether variables without the prefix may be read."""
    private: tuple[Path, ...] = ()
    """Files of this system's own (seal key, API keys), which no policy may take for a secret of its identities, though
    they lie in the same folder, as all credentials of a service or container do."""

    def resolve(self, reference: SecretReference, sign_mode: SignMode) -> tuple[bytes, SecretForm]:
        """The secret, and what it is: HASH for a hash, PLAIN for a password still to be hashed, else KEY.

        Raises:
            UnresolvedSecret: not set, not readable, outside `secrets_dir`, empty, too long, or `stored`.
        """
        if reference.kind == "hash":
            return reference.value.encode(), SecretForm.HASH
        form = SecretForm.PLAIN if sign_mode is SignMode.HASHED else SecretForm.KEY
        if reference.kind == "literal":
            return reference.value.encode(), form
        if reference.kind == "env":
            return self._from_environment(reference), form
        if reference.kind == "file":
            return self._from_file(reference), form
        raise _unresolved(reference, "this secret is in the store alone; name its source to change it")

    def _from_environment(self, reference: SecretReference) -> bytes:
        name = reference.value
        if not (self.allow_env or name.startswith(ENV_PREFIX)):
            raise _unresolved(
                reference, f"the variable {name} may not be read; name it {ENV_PREFIX}…, or pass `--allow-env`"
            )
        if name not in self.environ:
            raise _unresolved(reference, f"the variable {name} is not set; set it where this command runs")
        # Bytes that are no UTF-8 reach os.environ as surrogates.
        value = self.environ[name].encode(errors="surrogateescape")
        return _checked(reference, f"the variable {name}", value)

    def _from_file(self, reference: SecretReference) -> bytes:
        name = reference.value
        if self.secrets_dir is None:
            raise _unresolved(reference, f"no folder to read {name!r} from; pass `--secrets-dir DIR`")
        try:
            folder = self.secrets_dir.resolve()
            # Resolved first: a symbolic link must not lead out.
            path = (folder / name).resolve()
            if Path(name).is_absolute() or not path.is_relative_to(folder):
                raise _unresolved(reference, f"{name!r} is not below the secrets folder; write a path relative to it")
            if not path.is_file():
                raise _unresolved(reference, f"there is no file {name!r} in the secrets folder; put it there")
            if any(own.exists() and path.samefile(own) for own in self.private):
                raise _unresolved(reference, f"{name!r} in the secrets folder is a key of exhook's own; name another")
            with path.open("rb") as stream:
                value = stream.read(MAX_BYTES + 3)
        except (OSError, RuntimeError) as wrong:  # RuntimeError: a loop of symbolic links
            why = getattr(wrong, "strerror", None) or "a loop of links"
            raise _unresolved(reference, f"{name!r} in the secrets folder cannot be read ({why}); mend it") from None
        return _checked(reference, f"the file {name!r}", _without_newline(value))


def _without_newline(value: bytes) -> bytes:
    """Without the one newline that editors and ``echo`` put at the end."""
    return value[:-2] if value.endswith(b"\r\n") else value.removesuffix(b"\n")


def _checked(reference: SecretReference, where: str, value: bytes) -> bytes:
    if not value:
        raise _unresolved(reference, f"{where} is empty; an empty secret proves nothing, write one")
    if len(value) > MAX_BYTES:
        raise _unresolved(reference, f"{where} is longer than {MAX_BYTES} bytes, which no password can be; shorten it")
    return value


def _unresolved(reference: SecretReference, message: str) -> UnresolvedSecret:
    return UnresolvedSecret(f"{reference.origin}: {message}")
