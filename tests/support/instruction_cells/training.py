"""The constraints of IFEval's training set."""

from __future__ import annotations

from instruction_cells.case import ZERO, Case

TRAINING = [
    Case("keywords:word_once", {"keyword": "sea"}, ["The sea."], ["The lake.", "The sea and the sea."]),
    Case(
        "keywords:word_count_different_numbers",
        {"keyword": "sea", "frequency": 2, "relation": "at least"},
        ["A sea, a sea."],
        ["A sea."],
    ),
    Case(
        "keywords:exclude_word_harder",
        {"keyword": "sea"},
        ["The lake.", "The seat."],
        ["Sea.", "(sea)", "the sеa", "sea"],
    ),
    Case("keywords:no_adjacent_consecutive", {}, ["A cat zooms.", "Go away."], ["A bat.", "The cat (did) go."]),
    Case("keywords:palindrome", {}, ["At noon we eat.", "Anna!"], ["We eat.", "aaa", "11 22", "a"]),
    Case(
        "keywords:keyword_specific_position",
        {"keyword": "sea", "n": 2, "m": 3},
        ["It rains. Near the Sea it snows."],
        ["It rains.", "Near the sea it snows.", "It rains. The sea is near.", "It rains. Near it."],
    ),
    Case(
        "keywords:start_end",
        {},
        ["Sea of the sea", "Now and then, now"],
        ["Sea of the sea.", "sea", "sea sea", "a b c"],
    ),
    Case("letters:letter_counting", {"N": 4, "relation": "at least"}, ["abcd", "ab cd!"], ["abc 1234", "abc...."]),
    Case("letters:letter_counting", {"N": 4, "relation": "less than"}, ["abc 12345"], ["abcd"]),
    Case(
        "letters:letter_counting2",
        {"letter": "a", "let_frequency": 2, "let_relation": "less than"},
        ["A sea"[2:]],
        ["A sea"],
    ),
    Case("paragraphs:paragraphs", {}, ["One.\n***\nTwo."], ["One.\n\nTwo.", "One.\n***\n", "A\n***\nB\n***\nC"]),
    Case("paragraphs:paragraphs2", {}, ["One.\n\nTwo.", "One.\n\n\n\nTwo."], ["One.\nTwo.", "One.\n\nTwo.\n\nThree."]),
    Case(
        "first_word:first_word_sent",
        {"first_word": "We"},
        ["We eat. We sleep."],
        ["We eat. They sleep.", "Well. We eat."],
    ),
    Case(
        "first_word:first_word_answer",
        {"first_word": "We"},
        ["We eat. They sleep.", '"We," he said.'],
        ["Well, we eat.", "They"],
    ),
    Case(
        "last_word:last_word_sent",
        {"last_word": "tea"},
        ["We like tea. They drink TEA!"],
        ["We like tea. They eat.", "Steal tea x."],
    ),
    Case(
        "last_word:last_word_answer",
        {"last_word": "tea"},
        ["They eat. We like tea.", "green **tea**"],
        ["Tea is good.", "a tea?x"],
    ),
    Case(
        "detectable_format:bigram_wrapping",
        {},
        ["<<I am>> <<at home>>", "<<I am>> <<at home>> today"],
        ["I am at home", "<<I am at home>>", "<<I>> <<am>>", "<<I am>> at home now", "<<I am>> <<at home"],
    ),
    Case(
        "detectable_format:square_brackets",
        {},
        ["[We] [like] [tea]", "[We] [like] [tea]."],
        ["We [like] [tea]", "[We like tea]"[1:], "[] []", "[We] [like] tea"],
    ),
    Case(
        "detectable_format:sentence_hyphens",
        {},
        ["We eat.-They sleep.-It rains.", "Is it?-Yes."],
        ["We eat. They sleep.", "We eat. - They sleep.", "We eat.", "well-known"],
    ),
    Case("count:lowercase_counting", {"N": 2}, ["the Sea IS deep", "DEEP"], ["the sea is deep"]),
    Case(
        "count:counting_composition",
        {"n_sent": 2, "n_words": 2},
        ["We eat. They sleep.\n***\nIt rains. He left.\n***\nShe came. All sat."],
        [
            "We eat. They sleep.\n***\nIt rains. He left.",
            "We eat.\n***\nIt rains.\n***\nShe came.",
            "a b. c d e.\n***\na b. c d.\n***\na b. c d.",
        ],
    ),
    Case("count:count_unique", {}, ["Every word is here once."], ["The sea, the lake.", f"The sea, th{ZERO}e lake."]),
    Case(
        "count:count_increment_word",
        {"keyword1": "sea", "keyword2": "lake"},
        ["A lake, a sea, a lake."],
        ["A lake, a sea.", "A sea, a sea, a lake, a lake.", "A lake and a lake."],
    ),
    Case(
        "punctuation:punctuation_dot", {}, ["We eat", "Is it?"], ["We eat.", "3.5", "We eat。", "We eat…", "We eat．"]
    ),
    Case("punctuation:punctuation_exclamation", {}, ["We eat."], ["We eat!", "We eat！", "We eat‼", "Weǃ"]),
    Case(
        "copy:repeat_phrase",
        {"phrase": "The sea is very deep", "small_n": 2},
        ["The sea is quite deep. The lake is very deep.", "the sea was very deep, the sea is so deep"],
        [
            "The sea is very deep. The sea is very deep.",
            "The sea is quite deep.",
            "The lake was very deep. The sea is so deep.",
        ],
    ),
    Case(
        "copy:copy",
        {"prompt_to_repeat": "Write a poem."},
        ["Write a poem.", " write a  poem. "],
        ["Write a poem. Sure", "Write a"],
    ),
    Case(
        "copy:copying_simple",
        {"prompt_to_repeat": "Write a poem."},
        ["Write a poem."],
        ["A poem.", "Write a poem. ***"],
    ),
    Case(
        "copy:copying_multiple",
        {"prompt_to_repeat": "Write a poem.", "N": 2},
        ["Write a poem.\n******\nWrite a poem."],
        [
            "Write a poem.",
            "Write a poem.\n******\nWrite a song.",
            "Write a poem.\n******\nWrite a poem.\n******\nWrite a poem.",
        ],
    ),
    Case(
        "new:copy_span_idx",
        {"prompt_to_repeat": "Write a poem.", "n_start": 6, "n_end": 12},
        ["a poem", "A poem"],
        ["Write a poem.", "a poe"],
    ),
]
