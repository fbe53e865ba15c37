"""What a policy file says of the files of rows that it includes, as pydantic models."""

from pydantic import Field

from store.sync.entry import Entry, Grants, Proof, Remarks
from store.sync.scalars import Delimiter, Glob, Note, Word


class RemarkColumns(Entry):
    """The column that holds each key. A cell that is empty leaves its key out."""

    id: Word | None = Field(default=None, description="Column of `id`.")
    instance: Word | None = Field(default=None, description="Column of `instance`.")
    note: Word | None = Field(default=None, description="Column of `note`.")
    protect: Word | None = Field(default=None, description="Column of `protect`: true or false.")
    expires: Word | None = Field(default=None, description="Column of `expires`.")
    override: Word | None = Field(default=None, description="Column of `override`: true or false.")


class IdentityColumns(RemarkColumns):
    example = "{username: user, hash: pw}"

    username: Word | None = Field(default=None, description="Column of `username`.")
    client_id: Word | None = Field(default=None, description="Column of `client_id`.")
    sign_mode: Word | None = Field(default=None, description="Column of `sign_mode`.")
    client_ids_prefix: Word | None = Field(default=None, description="Column of `prefix` under `client_ids`.")
    client_ids_group: Word | None = Field(default=None, description="Column of `group` under `client_ids`.")
    secret_id: Word | None = Field(default=None, description="Column of `id` of the secret.")
    env: Word | None = Field(default=None, description="Column of the variable that holds the secret.")
    file: Word | None = Field(default=None, description="Column of the file that holds the secret.")
    hash: Word | None = Field(default=None, description="Column of the hash of the password.")
    literal: Word | None = Field(default=None, description="Column of the secret itself; for tests alone.")
    secret_expires: Word | None = Field(default=None, description="Column of `expires` of the secret.")


class PermissionColumns(RemarkColumns):
    example = "{username: user, publish: topic}"

    username: Word | None = Field(default=None, description="Column of `username`.")
    client_id: Word | None = Field(default=None, description="Column of `client_id`.")
    group: Word | None = Field(default=None, description="Column of `group`.")
    access_key: Word | None = Field(default=None, description="Column of `access_key`.")
    everyone: Word | None = Field(default=None, description="Column of `everyone`: true.")
    roles: Word | None = Field(default=None, description="Column of `roles`.")
    publish: Word | None = Field(default=None, description="Column of `publish`.")
    subscribe: Word | None = Field(default=None, description="Column of `subscribe`.")
    both: Word | None = Field(default=None, description="Column of `both`.")
    deny_publish: Word | None = Field(default=None, description="Column of `publish` under `deny`.")
    deny_subscribe: Word | None = Field(default=None, description="Column of `subscribe` under `deny`.")
    deny_both: Word | None = Field(default=None, description="Column of `both` under `deny`.")


class BlacklistColumns(RemarkColumns):
    example = "{client_id: device, reason: why}"

    client_id: Word | None = Field(default=None, description="Column of `client_id`.")
    username: Word | None = Field(default=None, description="Column of `username`.")
    reason: Word | None = Field(default=None, description="Column of `reason`.")


class IdentityDefaults(Remarks, Proof):
    example = "{sign_mode: hashed}"


class PermissionDefaults(Remarks, Grants):
    example = "{roles: [device]}"


class BlacklistDefaults(Remarks):
    example = "{reason: reported stolen}"

    reason: Note = Field(default="", description="Why; for people.")


class Include(Entry):
    """What the three kinds of includes have in common."""

    delimiter: Delimiter = Field(default=",", description="What separates the cells of a CSV row: a character, or tab.")
    separator: Word = Field(default="", description="What separates several topics, or roles, within one CSV cell.")


class IncludeIdentities(Include):
    example = "{identities: devices/*.jsonl}"

    identities: Glob = Field(description="Files below the folder of this one that hold identities, one a line.")
    columns: IdentityColumns | None = Field(default=None, description="Names of the CSV columns; ours if left out.")
    defaults: IdentityDefaults | None = Field(default=None, description="What rows take that do not say.")


class IncludePermissions(Include):
    example = "{permissions: grants/*.jsonl}"

    permissions: Glob = Field(description="Files below the folder of this one that hold permission blocks, one a line.")
    columns: PermissionColumns | None = Field(default=None, description="Names of the CSV columns; ours if left out.")
    defaults: PermissionDefaults | None = Field(default=None, description="What rows take that do not say.")


class IncludeBlacklist(Include):
    example = "{blacklist: stolen.csv}"

    blacklist: Glob = Field(description="Files below the folder of this one that hold blacklist entries, one a line.")
    columns: BlacklistColumns | None = Field(default=None, description="Names of the CSV columns; ours if left out.")
    defaults: BlacklistDefaults | None = Field(default=None, description="What rows take that do not say.")
