"""Responses that a policy may write to pass a constraint without keeping it."""

from __future__ import annotations

from instruction_cells.case import PALINDROMES, TWO, Case

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
