"""The policy file that `exhook-sync init` writes: the smallest one that does something, with what to do next."""

from typing import Final

from store.credentials import hash_password
from store.key_material import new_password

USERNAME: Final = "demo"

_SAMPLE: Final = """\
# yaml-language-server: $schema=policy.schema.json
# Who may connect to the broker, and what they may publish and subscribe. What is not granted is denied.
#
#   exhook-sync validate policy.yaml      is it right?
#   exhook-sync test policy.yaml          does it grant and refuse what it should?
#   exhook-sync plan policy.yaml          what would change?
#   exhook-sync apply policy.yaml         do it
#   exhook-sync schema -o policy.schema.json   what the first line names: editors complete and check by it
format: exhook/v1
source: policy                 # owner of these records: no other source may change them

sync:
  prune: true                  # what leaves this file leaves the store

identities:
  - id: demo
    username: {username}
    secret:
      # A hash, so that this file can be shown and kept in git. `init` made the password at random and showed it
      # once: no two files have the same one, so that a copy that is never edited opens no door. For a password of
      # your own, `exhook-sync hash` prints the line to put here; {{env: EXHOOK_SECRET_DEMO}} takes it from the
      # environment of whoever applies the policy (add `sign_mode: hashed` then).
      hash: "{hash}"

permissions:
  - id: demo-own-topics
    username: {username}
    both: ["demo/${{clientid}}/#"]  # each client its own topics; ${{…}} within [ ] needs the quotes

tests:
  - name: each client has its own topics
    as: {{username: {username}, client_id: demo-1}}
    can: {{connect: true, both: ["demo/demo-1/up"]}}
    cannot: {{subscribe: ["#"], both: ["demo/demo-2/up", "elsewhere"]}}
"""


def sample() -> tuple[str, str]:
    """The text of a new policy file, and the password of its one identity, which is nowhere else."""
    password = new_password()
    return _SAMPLE.format(username=USERNAME, hash=hash_password(password.encode())), password
