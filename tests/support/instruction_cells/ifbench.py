"""The constraints of IFBench."""

from __future__ import annotations

from instruction_cells.case import PALINDROMES, ZERO, Case

NAMES = "Emma met Liam and Noah."

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
