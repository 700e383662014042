"""For each constraint: responses that keep it, and responses that break it. Values are worked by hand."""

from __future__ import annotations

from typing import Any, NamedTuple


class Case(NamedTuple):
    """A constraint with its values, and responses."""

    id: str
    values: dict[str, Any]
    keeps: list[str]
    breaks: list[str]


ZERO = "\u200b"  # zero-width space
ENGLISH = "the old lighthouse stands on a cliff above the sea and its keeper lights the lamp every evening"
SPANISH = "El viejo faro está en un acantilado sobre el mar y su guardián enciende la lámpara todas las noches."
TWO = "One way is to walk to the old mill.\n******\nAnother way is to take the bus."

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

NAMES = "Emma met Liam and Noah."
PALINDROMES = "level radar civic rotor kayak refer madam tenet stats solos"

IFBENCH = [
    Case("count:word_count_range", {"min_words": 2, "max_words": 3}, ["one two", "one two three"], ["one", "a b c d"]),
    Case(
        "count:unique_word_count", {"N": 3}, ["one two three one"], ["one One ONE one.", "one two one", f"a b a{ZERO}"]
    ),
    Case("ratio:stop_words", {"percentage": 50}, ["Whales sing the songs."], ["It is what it is to me, whales."]),
    Case(
        "ratio:sentence_type",
        {},
        ["We eat. They eat. Who eats?"],
        ["We eat. Who eats?", "We eat. They eat.", "Yes! No!"],
    ),
    Case(
        "ratio:sentence_balance",
        {},
        ["We eat. Who eats? We do!"],
        ["We eat. Who eats?", "We eat. They eat. Who? Yes!", "no end"],
    ),
    Case(
        "count:conjunctions",
        {"small_n": 2},
        ["Tea and cake, or nothing."],
        ["Tea and cake and milk.", "orange android"],
    ),
    Case(
        "count:person_names",
        {"N": 3},
        [NAMES],
        ["Emma met Liam.", "emma liam noah", "Emma Emma Emma", "Noahs Liams Emmas"],
    ),
    Case(
        "ratio:overlap",
        {"reference_text": "abcdef", "percentage": 50},
        ["abcdxy"],  # abc bcd | cdx dxy
        ["abcdef", "xyzuvw", "ab"],
    ),
    Case("count:numbers", {"N": 2}, ["3 cats and 4.5 dogs", "1,000 and 2"], ["3 cats", "3 4 5", "three and four"]),
    Case(
        "words:alphabet", {}, ["A big cat does.", "Yes, zebras are bold"], ["A cat does.", "Big ants", "1 2 3", "一 二"]
    ),
    Case("words:vowel", {}, ["A cat sat in it.", "hmm"], ["A cat sits on our mat.", "a cat\nsat"]),
    Case("words:consonants", {}, ["Strong plants grow fast."], ["Strong plants do.", "a plant", "aeiou"]),
    Case(
        "sentence:alliteration_increment",
        {},
        ["We go. Big bats go. Big bold bats bite."],
        ["Big bats go. We go.", "We go. We sit."],
    ),
    Case(
        "words:palindrome", {}, [PALINDROMES], ["level " * 10, PALINDROMES.replace("solos", "xx"), "aaaaa bbbbb " * 5]
    ),
    Case(
        "count:punctuation",
        {},
        ["Yes, no; so: really?! Why? Go! Now."],
        ["Yes, no; so: really. Why? Go!", "Yes, no; so?! Go.", "?!"],
    ),
    Case(
        "format:parentheses",
        {},
        ["a (b [c {d (e [f])}])", "x ((((( y ))))) z"],
        ["(((())))", "((((((", "([)]([)]([)]", "(a) (b) (c) (d) (e)", ")))))((((("],
    ),
    Case(
        "format:quotes",
        {},
        ['He said "she said \'they said "go" now\' then" and left.'],
        ['"a" \'b\' "c"', "\"a 'b' c\"", 'it\'s "a" test', '"\'"'],
    ),
    Case("words:prime_lengths", {}, ["we all go", "It is, now."], ["we make it", "a cat", "five"]),
    Case(
        "format:options",
        {"options": "yes/no/maybe"},
        ["yes", "Maybe.", '"No"'],
        ["yes no", "I say yes", "yess", "yes/no/maybe"],
    ),
    Case(
        "format:options",
        {"options": "I know or I don't know"},
        ["I know.", "I don't know"],
        ["know", "I know or I don't know"],
    ),
    Case("format:options", {"options": "a), b), c), d)"}, ["b)", "B"], ["a), b)", "e)", "the b)"]),
    Case("format:newline", {}, ["one\ntwo\nthree"], ["one two", "one\ntwo three", "one"]),
    Case(
        "format:emoji",
        {},
        ["We eat 🍎. They sleep 😴.", "We eat. 🍎 They sleep! 😴", "Yes 🙂"],
        ["We eat. They sleep 😴.", "🙂 We eat.", "We eat :)"],
    ),
    Case(
        "ratio:sentence_words",
        {},
        ["We eat now. He sits up. It is dark."],
        ["We eat now. We sit up. We lie by.", "Yes. No. Maybe.", "We eat now."],
    ),
    Case(
        "count:words_japanese",
        {"N": 2},
        ["tea 茶 milk 牛乳", "tea 茶"],
        ["tea milk", "茶 tea", "tea 茶 milk cow", "tea"],
    ),
    Case("words:repeats", {"small_n": 2}, ["the sea the lake"], ["the sea the lake The end", f"the the t{ZERO}he"]),
    Case(
        "sentence:keyword",
        {"word": "sea", "N": 2},
        ["It rains. The sea is deep."],
        ["The sea is deep. It rains.", "The sea.", "It rains. Overseas."],
    ),
    Case("count:pronouns", {"N": 2}, ["She saw him.", "They and I"], ["She saw Tom.", "shelter him"[:7]]),
    Case("words:last_first", {}, ["We like tea. Tea is hot. Hot it is."], ["We like tea. It is hot.", "We like tea."]),
    Case(
        "words:paragraph_last_first",
        {},
        ["Tea is good tea.\nNow is now"],
        ["Tea is good.", "Tea is tea.\nNow it is", "tea"],
    ),
    Case(
        "sentence:increment",
        {"small_n": 2},
        ["We eat. We eat some cake."],
        ["We eat. They eat.", "We eat. We eat cake.", "We eat."],
    ),
    Case("words:no_consecutive", {}, ["A big cat."], ["Big bats.", "The cat (can) go."]),
    Case("format:line_indent", {}, ["a\n b\n  c"], ["a\nb", "a\n  b\n c", "a"]),
    Case(
        "format:quote_unquote",
        {},
        ['"Go" means leave. "Stay" means wait.'],
        ['"Go" "Stay" both.', 'He said "go"', "no quotes", '"a" b "c"'],
    ),
    Case(
        "format:list",
        {"sep": "!?!?"},
        ["!?!? tea\n!?!? milk"],
        ["!?!? tea", "!?!? !?!?", "* tea\n* milk", "!?!?\n!?!?"],
    ),
    Case(
        "format:thesis",
        {},
        ["<i>Tea is good.</i> It warms.", "<em>Tea.</em>\nIt warms."],
        ["Tea is good.", "<i></i> It", "<i>Tea.</i>", "<i>Tea</em> x"],
    ),
    Case(
        "format:sub-bullets",
        {},
        ["* tea\n  - green\n* milk\n  - cold"],
        ["* tea\n* milk\n  - cold", "- tea\n* milk\n- x", "tea", "* tea"],
    ),
    Case(
        "format:no_bullets_bullets",
        {},
        ["We eat. They sleep.\n* tea\n* milk"],
        ["We eat.\n* tea\n* milk", "We eat. They sleep.\n* tea", "We eat. They.\n* a\n* b\nEnd."],
    ),
    Case(
        "count:keywords_multiple",
        {"keyword1": "aa", "keyword2": "bb", "keyword3": "cc", "keyword4": "dd", "keyword5": "ee"},
        ["aa bb bb cc cc cc " + "dd " * 5 + "ee " * 7],
        ["aa bb cc dd ee", "aa aa bb bb cc cc cc " + "dd " * 5 + "ee " * 7],
    ),
    Case(
        "words:keywords_specific_position",
        {"keyword": "sea", "n": 1, "m": 2},
        ["The sea, it is."],
        ["Sea it is.", "The lake. The sea."],
    ),
    Case(
        "words:words_position",
        {"keyword": "sea"},
        ["The sea is a sea now.", "a sea sea b"],
        ["The sea is now.", "a sea b", "sea"],
    ),
    Case(
        "repeat:repeat_change",
        {"prompt_to_repeat": "Write a poem."},
        ["Sing a poem."],
        ["Write a poem.", "Sing a song.", "Please write a poem."],
    ),
    Case(
        "repeat:repeat_span",
        {"prompt_to_repeat": "Write a short poem now", "n_start": 1, "n_end": 3},
        ["a short"],
        ["a short poem", "write a"],
    ),
    Case(
        "format:title_case",
        {},
        ["The Old Man and the Sea", "We Eat 3 Cakes"],
        ["The old Man", "the Old Man", "THE old"],
    ),
    Case(
        "format:output_template",
        {},
        ["My Answer: tea My Conclusion: good Future Outlook: more"],
        [
            "My Answer: My Conclusion: Future Outlook:",
            "My Answer: tea",
            "My Conclusion: a My Answer: b Future Outlook: c",
        ],
    ),
    Case("format:no_whitespace", {}, ["Tea", "Tea-is-good"], ["Tea is good", "Tea\nis", "Tea\u00a0is", "Tea\u3000is"]),
]

BLANK, FILLER = "\u2800", "\u3164"  # without ink, and no white space to a program
RUN_ON = "we read books by the lamp and they sleep on the floor " * 8  # 96 words
# Texts that keep an upper bound, or a rule about every word or sentence, only where a part of them is not seen.
EVASIONS = [
    Case(
        "keywords:frequency",
        {"keyword": "sea", "frequency": 2, "relation": "less than"},
        ["The sea.", "The lake.", "A café by the sea."],
        [
            "The sea and the sеa.",  # Cyrillic е
            "The sea and the séa.",
            "The sea and the ꜱea.",
            "The sea and the 🆂🅴🅰.",
            "The seasea.",
            "The sea_sea.",
            f"The sea{BLANK}sea.",
            "The sea and the s\u0335ea.",
        ],
    ),
    Case(
        "keywords:frequency",
        {"keyword": "море", "frequency": 2, "relation": "less than"},
        ["Одно море."],
        ["Море и мoрe."],  # Latin o and e
    ),
    Case(
        "keywords:frequency", {"keyword": "sea", "frequency": 1, "relation": "exactly"}, ["A sea."], ["A sea, a sеa."]
    ),
    Case(
        "keywords:forbidden_words",
        {"forbidden_words": ["tomato"]},
        ["Tomatillos are fine.", "A potato."],
        [
            "A _tomato_ here.",
            "A tomatotomato.",
            "A tomato2.",
            f"The{BLANK}tomato{FILLER}is red.",
            f"A to{BLANK}mato.",
            "A tømato.",
            "A 🆃🅾🅼🅰🆃🅾.",
            "A ᴛᴏᴍᴀᴛᴏ.",
            "A t\u20ddo\u20ddmato.",
            "A t&#111;mato.",
            "A to<!-- -->mato.",
            "A to<b></b>mato.",
            "A to**mat**o.",
            "the*tomato*is",
        ],
    ),
    Case(
        "keywords:forbidden_words",
        {"forbidden_words": ["schön", "कल"]},
        ["Das ist schon gut.", "कुल दो"],
        ["Das ist sсhön.", "आज या कल"],  # Cyrillic с
    ),
    Case(
        "keywords:letter_frequency",
        {"letter": "a", "let_frequency": 2, "let_relation": "less than"},
        ["A cup."],
        ["A cаt.", "A cät.", "A cᴀt.", "A c🅰t."],
    ),
    Case("letters:letter_counting", {"N": 4, "relation": "less than"}, ["abc"], ["abc🅳", "ab🄲🅳"]),
    Case("keywords:word_once", {"keyword": "sea"}, ["A sea."], ["A sea, a sеa.", "A seasea."]),
    Case(
        "count:count_increment_word",
        {"keyword1": "sea", "keyword2": "lake"},
        ["A lake, a sea, a lake."],
        ["A lake, a sea, a lake, a lаke."],
    ),
    Case(
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "less than"},
        [
            "Dr. A. Smith paid 3.50 at 5 p.m. today",
            "See example.com, main.py and v1.2 for George W. Bush",
            "It was by J. R. R. Tolkien",
            "We read books,\nand they sleep.",
            "We read the long and dusty books that stand there on the shelf\nand sleep.",
        ],
        [
            "We like plan B. We eat.",
            "We take vitamin C. Cats eat.",
            "We eat.They sleep.",
            "We eat!they sleep",
            "We eat etc. They sleep etc.",
            "We eat e.g. They sleep",
            "We eat\nThey sleep",
            "we eat\nthey sleep",
            "We eat\u2028They sleep",
            "We eat؟ They sleep",
            "We eat։ They sleep",
            "We eat at 5 p.m. We sleep",
            RUN_ON,
        ],
    ),
    Case(
        "length_constraints:number_words",
        {"num_words": 12, "relation": "less than"},
        ["We read long books by the lamp.", "GitHub and JavaScript."],
        [
            "TheOldLamp StandsByThe WindowAndGives ALightToUs",
            "theoldlamp standsbythe andgivesus alightwith whichwe readthere everynight andlearnmuch",
            "We read 🅻🅾🅽🅶 🅱🅾🅾🅺🆂 🅱🆈 🆃🅷🅴 🅾🅻🅳 🅻🅰🅼🅿 🅰🅽🅳 🆆🅴 🆂🅻🅴🅴🅿 🆂🅾",
            BLANK.join(["we", "read", "by", "the", "old", "lamp", "and", "then", "we", "sleep", "so", "well"]),
        ],
    ),
    Case("count:word_count_range", {"min_words": 1, "max_words": 3}, ["one two"], ["OneTwoThreeFour", "a🅱 🅲 🅳 🅴"]),
    Case(
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* one\n* two", "Here: *this*.\n- one\n- two"],
        ["* one\n* two\n• three", "* one\n* two\n+ three", "* .\n* ,", "* one\n* .\n* two"],
    ),
    Case(
        "detectable_format:constrained_response",
        {},
        ["My answer is yes."],
        ["My answer is yes. My аnswer is no.", "My answer is yes. My answer is ɴo."],
    ),
    Case(
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1\nWe begin.\nSection 2\nWe end."],
        ["Section 1\nWe begin.\nSection 1\nWe end."],
    ),
    Case("detectable_format:json_format", {}, ['{"a": 1}'], ['｛"a": 1｝', '{"a": NaN}', "[Infinity]"]),
    Case(
        "combination:two_responses",
        {},
        [TWO],
        [
            "Walk to the mill now.\n******\nWalk to the mill now!",
            "Go by bus to the mill.\n******\nGo by bus to the mіll.",
        ],
    ),
    Case(
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        ["The SEA is deep.", "The Sea Is Deep"],
        ["The SEA is VASTt.", "The SEA is ᴠᴀꜱᴛ.", "SEAISVASTANDVERYDEEPTOO", "The SEA is 🆅🅰🆂🆃."],
    ),
    Case(
        "punctuation:no_comma",
        {},
        ["We eat."],
        ["We eat&#44; they", "We eat՝ they", "We eat⹁ they", "We eat꛵ they", "We eat፣ they"],
    ),
    Case(
        "punctuation:punctuation_dot",
        {},
        ["We eat", "Is it?"],
        ["We eat&#46;", "We eat։", "We eat᠃", "We eat॥"],
    ),
    Case(
        "punctuation:punctuation_exclamation",
        {},
        ["We eat."],
        ["We eat&excl;", "We eat❢", "We eat⹓", "We eat߹"],
    ),
    Case("ratio:stop_words", {"percentage": 50}, ["Whales sing the songs."], ["Тhе whale іs аt sea."]),
    Case("count:unique_word_count", {"N": 3}, ["one two three"], ["tea tеa téa", "tea 🆃🅴🅰 tea"]),
    Case("count:numbers", {"N": 2}, ["3 cats and 4.5 dogs"], ["3 cats, 4 dogs, ❺ cows", "3 cats, 4 dogs, 🄌 cows"]),
    Case("words:alphabet", {}, ["A big cat does."], ["apple", "a-wild-bunch", "a_zoo"]),
    Case("words:no_consecutive", {}, ["A big cat."], ["big-bats", "A big Вat.", "bats"]),  # Cyrillic В
    Case("keywords:no_adjacent_consecutive", {}, ["A cat zooms."], ["a_bat", "Cats", "The аnt bites"]),
    Case("words:consonants", {}, ["Strong plants grow fast."], ["strength-of-a-sea", "Strong_and_a_sea"]),
    Case("words:prime_lengths", {}, ["we all go"], ["we-make-it-up", "ab_cdefgh_ijk"]),
    Case("words:vowel", {}, ["A cat sat in it."], ["A cat sіts оn our mat.", "Кот и мышь ели."]),
    Case("sentence:alliteration_increment", {}, ["We go. Big bats go."], ["We go there.", "Big bats go.We go"]),
    Case("words:palindrome", {}, [PALINDROMES], ["abcba bcdcb cdedc defed efgfe fghgf ghihg hijih ijkji jklkj"]),
    Case("keywords:palindrome", {}, ["At noon we eat."], ["We eat xyx and abba1.", "aba"]),
    Case("format:newline", {}, ["one\ntwo"], ["we-eat-it\nnow", "we_eat\nnow"]),
    Case("format:emoji", {}, ["We eat 🍎.\nThey sleep 😴."], ["We eat\nThey sleep 😴."]),
    Case(
        "ratio:sentence_words",
        {},
        ["We eat now. He sits up. It is dark."],
        ["We eat nоw. He eаt now. It is dark.", "We eat.I go. He sits. It is he."],
    ),
    Case("ratio:sentence_type", {}, ["We eat. They eat. Who eats?"], ["We eat. They eat.We go. Who eats?"]),
    Case("words:repeats", {"small_n": 2}, ["the sea the lake"], ["the thе thé", "the-the-the", "the_the_the"]),
    Case("count:count_unique", {}, ["Every word is here."], ["the lake-the sea", "the thе"]),
    Case("words:last_first", {}, ["We like tea. Tea is hot."], ["We like tea. Tea is hot.Now it rains."]),
    Case("words:paragraph_last_first", {}, ["Tea is good tea."], ["tea tea"]),
    Case("sentence:increment", {"small_n": 2}, ["We eat. We eat some cake."], ["We eat. We eat.We sleep now"]),
    Case("first_word:first_word_sent", {"first_word": "We"}, ["We eat. We sleep."], ["We eat.They sleep.", "We\nThey"]),
    Case("last_word:last_word_sent", {"last_word": "tea"}, ["We like tea."], ["They eat.We like tea.", "They\ntea"]),
    Case("format:sub-bullets", {}, ["* tea\n  - green"], ["* tea\n  - .", "* .\n - tea"]),
    Case("format:no_bullets_bullets", {}, ["We eat. They sleep.\n* tea\n* milk"], ["We eat. They sleep.\n* .\n* ,"]),
    Case("format:title_case", {}, ["The Old Man", "Don't Go"], ["一二三", "The Old ʍan"]),
    Case("format:no_whitespace", {}, ["Tea-is-good"], ["Tea&nbsp;is", f"Tea{BLANK}is", f"Tea{FILLER}is"]),
    Case("detectable_format:bigram_wrapping", {}, ["<<I am>> <<at home>>"], ["<<I-am at-home>>", "<<I am>> at-home"]),
    Case("detectable_format:square_brackets", {}, ["[We] [like] [tea]"], ["[We-like-tea]", "[We_like] [tea]"]),
    Case("detectable_format:sentence_hyphens", {}, ["We eat.-They sleep."], ["We eat.They sleep.-It rains."]),
    Case("count:lowercase_counting", {"N": 2}, ["the Sea IS deep"], ["theseaandthelakearedeep", "tea TEA ѕea lake"]),
    Case(
        "count:keywords_multiple",
        {"keyword1": "aa", "keyword2": "bb", "keyword3": "cc", "keyword4": "dd", "keyword5": "ee"},
        ["aa bb bb cc cc cc " + "dd " * 5 + "ee " * 7],
        ["aa аа bb bb cc cc cc " + "dd " * 5 + "ee " * 7],
    ),
]

CASES = [*IFEVAL, *TRAINING, *IFBENCH, *EVASIONS]
