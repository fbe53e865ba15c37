"""Permissions, put to one PUBLISH or SUBSCRIBE: a DENY of any grantee wins, then any ALLOW. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from store.grants import GrantIndex
from store.placeholders import TopicPattern
from store.records import Action, Effect, NoMatch, Permission
from store.topics import Levels, levels_cover, levels_overlap, levels_reach
from store.verdict import Decision, Nearest, Reason, refused
from store.view import Client, View


@dataclass(slots=True)
class Question:
    """One authorize request while it is being decided."""

    view: View
    client: Client
    grants: Sequence[GrantIndex]
    asked: Levels
    action: Action
    now_ms: int
    unsafe: Permission | None = None

    def answer(self) -> Decision:
        """DENY of any grantee first, then ALLOW of any, else no match."""
        if denial := self.denial():
            return denial
        for grants in self.grants:
            if rule := grants.allowing(self.asked, self.action, self.now_ms):
                return Decision(allow=True, reason=Reason.ALLOWED, revision=self.view.revision, rule=rule)
        if self._templated() and (rule := self._template(Effect.ALLOW)):
            return Decision(allow=True, reason=Reason.ALLOWED, revision=self.view.revision, rule=rule)
        return self._no_match()

    def denial(self) -> Decision | None:
        """What refuses it whatever is granted: the registry of parent topics, then the DENY of any grantee."""
        instance = self.view.instance
        if instance is not None and not instance.registers(self.asked):
            return refused(Reason.UNKNOWN_PARENT_TOPIC, self.view.revision)
        for grants in self.grants:
            if rule := grants.denying(self.asked, self.action, self.now_ms):
                return Decision(allow=False, reason=Reason.DENIED, revision=self.view.revision, rule=rule)
        if self._templated() and (rule := self._template(Effect.DENY)):
            reason = Reason.UNSAFE_PLACEHOLDER if rule is self.unsafe else Reason.DENIED
            return Decision(allow=False, reason=reason, revision=self.view.revision, rule=rule)
        return None

    def _templated(self) -> bool:
        return any(grants.templates for grants in self.grants)

    def _template(self, effect: Effect) -> Permission | None:
        """The permission with placeholders that decides; a DENY whose value is unsafe is one (pitfall 3)."""
        reaches = levels_overlap if effect is Effect.DENY and self.action is Action.SUB else levels_cover
        values = self.client.placeholder_values()
        for permission, pattern in self._applicable(effect):
            if not reaches(pattern.widest, self.asked):
                continue
            levels = pattern.substitute(values)
            if levels is None:
                self.unsafe = self.unsafe or permission
            elif reaches(levels, self.asked):
                return permission
        return self.unsafe if effect is Effect.DENY else None

    def _applicable(self, effect: Effect) -> list[tuple[Permission, TopicPattern]]:
        return [
            (template.permission, template.pattern)
            for grants in self.grants
            for template in grants.templates
            if template.permission.effect is effect
            and template.permission.action.includes(self.action)
            and template.permission.in_force(self.now_ms)
        ]

    def _no_match(self) -> Decision:
        reason = Reason.UNSAFE_PLACEHOLDER if self.unsafe else Reason.NO_MATCH
        instance = self.view.instance
        passed_on = instance is not None and instance.no_match is NoMatch.PASS and reason is Reason.NO_MATCH
        return Decision(
            allow=False,
            reason=reason,
            revision=self.view.revision,
            rule=self.unsafe,
            nearest=self._nearest(),
            passed_on=passed_on,
        )

    def _nearest(self) -> Nearest | None:
        found = [
            Nearest(miss.permission, miss.why, miss.level)
            for grants in self.grants
            if (miss := grants.nearest(self.asked, self.action, self.now_ms))
        ]
        templates = [template for grants in self.grants for template in grants.templates]
        values = self.client.placeholder_values() if templates else {}
        for template in templates:
            levels = template.pattern.substitute(values)
            if levels is not None and (near := self._near(template.permission, levels)):
                found.append(near)
        # What lacks only the right action or some time came nearer than any level could.
        return max(found, key=lambda near: len(self.asked) + 1 if near.level is None else near.level, default=None)

    def _near(self, permission: Permission, levels: Levels) -> Nearest | None:
        """What a permission with placeholders lacks, if it is one thing: its filter's reach, the action, or time."""
        if permission.effect is Effect.DENY:
            return None
        fits, in_force = permission.action.includes(self.action), permission.in_force(self.now_ms)
        if fits and in_force:
            return Nearest(permission, "level", levels_reach(levels, self.asked))
        if fits is not in_force and levels_cover(levels, self.asked):
            return Nearest(permission, "expired" if fits else "action")
        return None
