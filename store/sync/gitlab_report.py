"""A plan as the JSON that GitLab's merge-request widget reads (``artifacts:reports:terraform``)."""

import json

from store.changes import Operation
from store.sync.plan import Plan


def gitlab_report(plan: Plan) -> str:
    """Counts by operation, under the names that the widget knows."""
    return json.dumps(
        {
            "create": plan.count(Operation.ADD),
            "update": plan.count(Operation.CHANGE),
            "delete": plan.count(Operation.REMOVE),
        }
    )
