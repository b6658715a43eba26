"""Which of two thousand phrases occur in a text: linear, and by words first, since most occur in none.

A phrase is literal pieces with "*" for gaps of bounded length. One that begins with a letter begins a word.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Final, TypeAlias

_WILD: Final = 80  # characters that "*" stands for
_STARTS: Final = 8  # places in a text at which a phrase is tried
_WORD = re.compile(r"[a-z]+")


class Phrase:
    """A text to look for."""

    __slots__ = ("_begins_word", "_rest", "first", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.first, *self._rest = (piece.strip() for piece in text.split("*"))
        self._begins_word = _WORD.match(self.first) is not None

    def within(self, text: str) -> bool:
        """Whether it occurs in a text in lower case. A few starts, and each looks at a bounded stretch."""
        start = text.find(self.first)
        for _ in range(_STARTS):
            if start < 0:
                return False
            if self._may_begin(text, start) and self._goes_on(text, start + len(self.first)):
                return True
            start = text.find(self.first, start + 1)
        return False

    def word(self) -> str:
        """The whole word that it begins with; "" if a longer word may begin so, or it begins with none."""
        found = _WORD.match(self.first)
        return found[0] if found is not None and found.end() < len(self.first) else ""

    def _may_begin(self, text: str, start: int) -> bool:
        return not self._begins_word or _WORD.match(text[start - 1 : start]) is None

    def _goes_on(self, text: str, end: int) -> bool:
        for piece in self._rest:
            found = text.find(piece, end, end + _WILD + len(piece))
            if found < 0:
                return False
            end = found + len(piece)
        return True


#: Phrases with what each begins with beside it: a look for that costs less than a call.
_Listed: TypeAlias = list[tuple[str, Phrase]]


class PhraseBook:
    """Many phrases, looked for at once."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._by_word: dict[str, _Listed] = defaultdict(list)
        self._plain: _Listed = []
        self._other_scripts: _Listed = []
        for phrase in map(Phrase, dict.fromkeys(texts)):
            self._list_of(phrase).append((phrase.first, phrase))

    def _list_of(self, phrase: Phrase) -> _Listed:
        if word := phrase.word():
            return self._by_word[word]
        return self._plain if phrase.first.isascii() else self._other_scripts

    def found_in(self, text: str) -> frozenset[str]:
        """The phrases that occur in a text in lower case."""
        words = self._by_word.keys() & set(_WORD.findall(text))
        lists = [self._plain, *(self._by_word[word] for word in words)]
        if not text.isascii():
            lists.append(self._other_scripts)
        return frozenset(
            [
                phrase.text
                for listed in lists
                for first, phrase in listed
                if first in text and phrase.within(text)
            ]
        )
