"""Words to print on pages: common ones of five languages, made-up ones with the letters of prose, and numbers."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?()-&%$+="
PROSE = "eeeeeeeeeeeetttttttttaaaaaaaaooooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllcccuuummmwwffggyyppbbvk"

# The commonest first in each language.
ENGLISH = """
the of and to a in is that it was for on with as be at by had not are but from or have an they which one were her all
she there would their we him been has when who will no more if out so said what up its about into them can only other
time new some could these two may first then do any like my now over such our man me even most made after also did many
off before must well back through years much where your way down should because long each just state people those too
mr how little good world make very year still see work life against never day both between under house same three
water last might great while himself few during without place around old found right head small part once general upon
school every end next here number right white children left kind give night hand light country again open name large
letter page book line door window garden street paper money week month please send thank dear morning evening road
river market church bridge station office account order price copy street winter summer sheet note
"""
GERMAN = """
die der und in zu den das nicht von sie ist des sich mit dem dass er es ein ich auf so eine auch als an nach wie im
haben bei wurde aus zum noch wird war um sein hat durch nur kann oder aber wenn seine mehr schon vor zur bis jetzt
Jahr Haus Zeit Tag Mann Frau Stadt Welt Wasser Buch Seite Brief Garten Weg Arbeit Schule Licht Abend Morgen
"""
FRENCH = """
de la le et les des en un du une que est pour qui dans par plus pas au sur ne se ce il sont avec son mais comme ou si
leur deux nous tout elle bien sans peut vous aussi fait temps jour monde vie main eau livre maison rue lettre page
"""
SPANISH = """
que el en y los se del las con no su para es al lo como pero sus le ha me sin sobre este ya entre cuando todo esta ser
son dos muy hasta desde donde casa tiempo dia mundo vida agua libro calle carta noche luz mano trabajo
"""
ITALIAN = """
di che e il non per una sono con ma come da del si mi ho lo ha le al nel della anche se tutto quando gli dei casa tempo
giorno mondo acqua libro strada lettera notte luce mano lavoro
"""


def any_word(rng: Generator, *, prose: bool = False) -> str:
    """Return letters and signs of every kind or, as `prose`, mostly a word as a text has it, with its punctuation."""
    if not prose or rng.random() >= 0.85:
        return "".join(rng.choice(list(LETTERS), int(rng.integers(1, 10))))
    word = _listed(rng) if rng.random() < 0.6 else "".join(rng.choice(list(PROSE), int(rng.integers(1, 11))))
    if rng.random() < 0.12:
        word = word.capitalize()
    return word + str(rng.choice(["", ".", ","], p=[0.84, 0.08, 0.08]))


def _listed(rng: Generator) -> str:
    """Return a word of a list, the more often the further ahead it stands."""
    words, odds = _LISTS[rng.choice(len(_LISTS), p=_SHARES)]
    return words[rng.choice(len(words), p=odds)]


def _ranked(text: str) -> tuple[list[str], np.ndarray]:
    words = text.split()
    odds = 1 / (np.arange(len(words)) + 6)  # Zipf's law, flatter at its top
    return words, odds / odds.sum()


_LISTS = [_ranked(text) for text in (ENGLISH, GERMAN, FRENCH, SPANISH, ITALIAN)]
_SHARES = 0.6, 0.1, 0.1, 0.1, 0.1
