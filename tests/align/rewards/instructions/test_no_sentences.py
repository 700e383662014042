"""A response without sentences follows no rule about all of its sentences."""

from align.rewards.instructions.text import Text
from align.rewards.instructions.training import first_word_of_sentences, last_word_of_sentences


def test_a_response_without_sentences() -> None:
    assert not first_word_of_sentences(Text("1 2 3"), first_word="yes")
    assert not last_word_of_sentences(Text("1 2 3"), last_word="yes")
    assert first_word_of_sentences(Text("Yes it is. Yes indeed."), first_word="yes")
