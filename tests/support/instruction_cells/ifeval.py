"""The constraints of IFEval."""

from __future__ import annotations

from instruction_cells.case import ENGLISH, SPANISH, TWO, ZERO, Case

IFEVAL = [
    Case(
        "keywords:existence",
        {"keywords": ["lamp", "cliff edge"]},
        ["A Lamp stood at the cliff\nedge.", "Lamps at the cliff edge.", f"A la{ZERO}mp at the cliff edge."],
        ["A lamp on a cliff.", "A clamp at the cliff edge.", "A lаmp at the cliff edge.", "l a m p at the cliff edge"],
    ),
    Case(
        "keywords:frequency",
        {"keyword": "sea", "frequency": 3, "relation": "at least"},
        ["The sea, the SEA, and the seas."],
        ["The sea and the sea.", "The seaseasea.", "The sea, the sеa and the sea."],
    ),
    Case(
        "keywords:frequency",
        {"keyword": "sea", "frequency": 2, "relation": "less than"},
        ["The sea.", "No water here."],
        ["The sea and the sea.", f"The sea and the se{ZERO}a."],
    ),
    Case(
        "keywords:forbidden_words",
        {"forbidden_words": ["tomato", "very good"]},
        ["A potato is good.", "Tomatoes are fine."],
        [
            "A tomato.",
            "A TOMATO!",
            f"A to{ZERO}mato.",
            "A tоmato.",
            "A ｔｏｍａｔｏ.",
            "A tomáto.",
            "It is very  good.",
            "𝐭𝐨𝐦𝐚𝐭𝐨",
        ],
    ),
    Case(
        "keywords:letter_frequency",
        {"letter": "q", "let_frequency": 2, "let_relation": "at least"},
        ["Quick quiet walks.", "qq"],
        ["A quick walk.", "no such letter"],
    ),
    Case(
        "language:response_language",
        {"language": "es"},
        [SPANISH],
        [ENGLISH, "12 + 12 = 24", f"{SPANISH} {ENGLISH}."],
    ),
    Case("language:response_language", {"language": "hi"}, ["यह एक पुराना घर है।"], [ENGLISH, "Yah ek purana ghar hai."]),
    Case(
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "at least"},
        ["One is here. Two is there! Is three?", "Dr. Smith came. He sat down. J. Jones left."],
        ["One is here. Two is there.", "Dr. A. Smith paid 3.50 at 5 p.m. today.", "... !!! ???", "Wait. . . no"],
    ),
    Case("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, ["One."], ["One. Two."]),
    Case(
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["First part.\n***\nSecond part.", "***\nFirst.\n***\nSecond.\n***"],
        ["First part.\n\nSecond part.", "First.\n***\n***\nSecond.", "One.\n***\nTwo.\n***\nThree.", "***"],
    ),
    Case(
        "length_constraints:number_words",
        {"num_words": 4, "relation": "at least"},
        ["one two three four", "一二三四"],
        ["one two three", f"on{ZERO}e tw{ZERO}o", "one - two - three - .", "one two three …"],
    ),
    Case("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, ["one two"], ["one two three"]),
    Case(
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "However"},
        ["It rains.\n\nHowever, we go.", 'It rains.\n \n"however we go'],
        ["However, we go.\n\nIt rains.", "It rains.\nHowever, we go.", "A.\n\nB.\n\nHowever c.", "A.\n\nHowevers go."],
    ),
    Case(
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        ["Dear [name], come to [your address]."],
        ["Dear [name].", "[] []", "[ ] [name]", "[name"],
    ),
    Case(
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Dear Ann, come.\nP.S. Bring tea.", "Come.\n\n**P.S.** bring tea", "Come.\nP. S. tea"],
        ["Dear Ann, come.", "Come.\nP.S.", "Come. I write P.S. never."],
    ),
    Case(
        "detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["Hi.\nP.P.S. Tea"], ["Hi.\nP.S. Tea", "PPS"]
    ),
    Case(
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* one\n* two", "Here:\n- one\n  - two", "- one\n* two\n**bold** line"],
        ["* one", "* one\n* two\n- three", "*\n*", "---\n* one", "1. one\n2. two"],
    ),
    Case(
        "detectable_format:constrained_response",
        {},
        ["My answer is yes.", "my answer is maybe", "I thought about it. My answer is no."],
        ["Yes.", "My answer is yes. My answer is no.", "My answer is yesterday.", "My answer is ."],
    ),
    Case(
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["This is *one part* and **another part**.", "*a* and *b* and *c*"],
        ["This is *one part*.", "** ** and * *", "2 * 3 * 4", "** and **", "*one\npart* *two\nparts*"],
    ),
    Case(
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1\nWe begin.\nSection 2\nWe end.", "**Section 1**: a\n## Section 2: b"],
        ["Section 1\nWe begin.", "Section 1\nSection 2", "Section 1 Section 2 Section 3", "Section A\nx\nSection B\ny"],
    ),
    Case(
        "detectable_format:json_format",
        {},
        ['{"a": 1}', '```json\n{"a": [1, 2]}\n```', "[1]", "```\n[1]\n```"],
        ['{"a": 1', 'Here: {"a": 1}', "7", '"text"', "{a: 1}", "```json\n```"],
    ),
    Case("detectable_format:title", {}, ["<<The Sea>>\nA poem."], ["<The Sea>", "<<>>", "<< >> sea", "<<The\nSea>>"]),
    Case(
        "combination:two_responses",
        {},
        [TWO],
        [TWO.replace("*", ""), "Walk.\n******\nWalk.", "Walk.\n******", f"{TWO}\n******\nx"],
    ),
    Case(
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Write about the sea."},
        ["Write about the sea.\nThe sea is deep.", "write  about the sea. Deep."],
        ["Write about the sea.", "The sea is deep.", "Sure. Write about the sea. Deep.", "Write about the sea. !"],
    ),
    Case(
        "startend:end_checker",
        {"end_phrase": "That is all."},
        ["The sea is deep. That is all.", "Deep. that is  all.", 'Deep. "That is all."'],
        ["That is all. Bye.", "The sea is deep.", "That is all. ."],
    ),
    Case(
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["The SEA is VAST.", "I SAW it"],
        ["The SEA is vast.", "The Sea Is Vast", "1234 5678"],
    ),
    Case(
        "change_case:capital_word_frequency",
        {"capital_frequency": 1, "capital_relation": "less than"},
        ["sea"],
        ["SEA"],
    ),
    Case(
        "change_case:english_capital",
        {},
        [f"{ENGLISH.upper()}."],
        [ENGLISH, ENGLISH.title(), SPANISH.upper(), "一二三 A", "1234", f"{ENGLISH.upper()} a"],
    ),
    Case(
        "change_case:english_lowercase",
        {},
        [f"{ENGLISH}."],
        [ENGLISH.upper(), ENGLISH.title(), SPANISH.lower(), "一二三 a", "1234", f"{ENGLISH} A"],
    ),
    Case(
        "punctuation:no_comma",
        {},
        ["The sea is deep."],
        ["Deep, dark.", "Deep，dark.", "Deep、dark", "Deep، dark", "3,000"],
    ),
    Case("startend:quotation", {}, ['"The sea."', "“The sea.”"], ["The sea.", '"The sea', '""', '" "', '"The" sea']),
]
