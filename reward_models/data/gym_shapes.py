"""The form of an answer to those tasks of reasoning-gym whose own scorers evaluate it, or find one in other words.

A problem whose own answer has not the form is left out: it could not be answered.
"""

from __future__ import annotations

REFUSED = {
    "composite": "it mixes other tasks: name these as sources of their own",
    "propositional_logic": "its scorer takes a premise that is repeated for a conclusion",
}
_NUMBER = r"-?\d{1,30}(?:\.\d{1,30})?"
_FUNCTIONS = "sin|cos|tan|cot|sec|csc|asin|acos|atan|sinh|cosh|tanh|exp|log|ln|sqrt|pi|Abs"
# Numbers, one letter at a time or a function, and operators. A dot stands inside a number only: no attribute is read.
_FORMULA = rf"(?:\s|\d{{1,30}}(?:\.\d{{1,30}})?(?![\w.])|[-+*/()]|(?:{_FUNCTIONS}|[A-Za-z])(?![\w.])){{1,1000}}"
_SUM = r"(?!.*(?:\*\*|//))(?:\s|\d{1,9}(?![\w.])|[-+*/()]){1,500}"
_ROLE = r"[A-Z]\w{0,30}\s+is\s+an?\s+\w{1,30}"
# Task → pattern of a whole answer. The first nine are evaluated by the package's scorers.
SHAPES: dict[str, str] = {
    "simple_integration": _FORMULA,
    "intermediate_integration": _FORMULA,
    "polynomial_multiplication": _FORMULA,
    "countdown": _SUM,
    "puzzle24": _SUM,
    "string_insertion": r"[A-Z]{1,1000}",
    "spiral_matrix": r"-?\d+(?: -?\d+)*",
    "binary_matrix": r"[-\d \n]+",
    "n_queens": r"[_Q \n]+",
    "gsm_symbolic": r"\d{1,15}(?:\.\d{1,15})?",
    "kakurasu": r"[01 \n]+",
    "knights_knaves": rf"{_ROLE}(?:\s*(?:,|and|,\s*and)\s+{_ROLE})*\.?",
    "polynomial_equations": rf"{_NUMBER}(?:\s*,\s*{_NUMBER})*",
    "quantum_lock": r"[A-C](?:\s*(?:→|->|,)?\s*[A-C]){0,200}",
    "sokoban": r"[LRUD]{1,2000}",
    "advanced_geometry": rf"\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)|{_NUMBER}\s*°?",
    "coin_flip": r"\d{1,30}(?:\.\d{1,60})?|\d{1,60}/\d{1,60}",
    "complex_arithmetic": r"[-+*()\d. ij]{1,200}",
    "fraction_simplification": r"\$?\\d?frac\{\d{1,60}\}\{\d{1,60}\}\$?|\$?\(?\d{1,60}\s*/\s*\d{1,60}\)?\$?",
    "survo": r"[-\d \n]+",
    "time_intervals": r"(?:\d{1,9} days?)?(?:, |^)?(?:\d{1,9}:\d\d(?::\d\d(?:\.\d{1,6})?)?)?",
    "tower_of_hanoi": r"(?:Move disk \d{1,4} from Peg \d{1,4} to Peg \d{1,4}\s*){1,5000}",
}
