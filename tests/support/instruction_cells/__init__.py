"""For each constraint: responses that keep it, and responses that break it. Values are worked by hand."""

from __future__ import annotations

from instruction_cells.evasions import EVASIONS
from instruction_cells.ifbench import IFBENCH
from instruction_cells.ifeval import IFEVAL
from instruction_cells.training import TRAINING

CASES = [*IFEVAL, *TRAINING, *IFBENCH, *EVASIONS]
