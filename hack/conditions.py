"""The page of a pool's conditions and Events, for hack/docs.py: out of the tables that the operator goes by."""

from __future__ import annotations

from snakepit_operator.events import BURST, REFILL_SECONDS, SIMILAR, SIMILAR_SECONDS, WORDS
from snakepit_operator.status import CONDITIONS

PAGE = f"""# Conditions and Events

Generated from `operator/src/snakepit_operator/status.py` and `operator/src/snakepit_operator/events.py` by `make docs`;
don't edit. `kubectl describe sp/NAME` shows both. [Each reason](observe.md#reasons-and-what-to-do) has what to do
about it.

## Conditions

All of them are there from the operator's first look on, but for those that say when. A condition's
`observedGeneration` is the generation of the spec that it speaks of; `lastTransitionTime` is when its status changed
last, not its reason or message.

| condition | there | True says |
|---|---|---|
{{conditions}}
## Events

A condition that changes is an Event with the condition's reason and message, a Warning where it is no good news. A
control plane or an operator that has just started tells nothing that is as it was. Beside those there are:

| reason | type | what happened |
|---|---|---|
{{events}}
Nothing of it floods a cluster:

* The same again is the same Event, with a higher count.
* Of one reason, {SIMILAR} different messages in {SIMILAR_SECONDS / 60:g} minutes have an Event each. The next ones share
  one, which begins with "(combined from similar events)" and has the latest message.
* A pool has {BURST} at once, and then one more each {REFILL_SECONDS:g} s. How many are beyond, a line of the operator's
  log says.

Events are forgotten after an hour, as the API server is set up as a rule. The status stays.
"""


def page() -> str:
    conditions = "".join(f"| `{name}` | {each.there} | {each.meaning} |\n" for name, each in CONDITIONS.items())
    events = "".join(f"| `{reason!s}` | {each.types} | {each.meaning} |\n" for reason, each in WORDS.items())
    return PAGE.format(conditions=conditions, events=events)
