"""Lists of English words that constraints of IFBench count."""

from __future__ import annotations

CONJUNCTIONS = frozenset(("and", "but", "for", "nor", "or", "so", "yet"))
_PRONOUNS = """
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
herself it its itself they them their theirs themselves
"""
PRONOUNS = frozenset(_PRONOUNS.split())
_STOP_WORDS = """
i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it its
itself they them their theirs themselves what which who whom this that these those am is are was were be been being
have has had having do does did doing a an the and but if or because as until while of at by for with about against
between into through during before after above below to from up down in out on off over under again further then once
here there when where why how all any both each few more most other some such no nor not only own same so than too
very s t can will just don should now
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_NAMES = """
Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin Harper Leo
Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria Elijah Layla
Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella Jonathan
"""
NAMES = frozenset(_NAMES.split())
# Words that read the same from both ends: made-up ones are none.
_PALINDROMES = """
aha ala ama ana anna ava aviva bib bob boob civic dad deed deified deleveled denned detartrated devoved dewed did dud
eke elle esse eve evitative ewe eye gag gig hah hallah halalah hannah huh ici kayak kook level lol madam malayalam
mam mim minim mom mum murdrum nan neben noon non nun otto oso ojo pap peep peeweep pep pip poop pop pup racecar radar
reconocer redder redivider reittier refer reifier rentner repaper ressasser reviver rotator rotavator rotor sagas sees
semes senones sexes shahs sis siris solos somos stats stets sus tat tenet terret tet tit toot tot tut uhu wow
"""
PALINDROMES = frozenset(_PALINDROMES.split())
_SMALL_WORDS = "a an the and but or nor for so yet of in on at to by as from with into over up via per vs"
SMALL_WORDS = frozenset(_SMALL_WORDS.split())
