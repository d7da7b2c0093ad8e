"""Words of names, descriptions and queries: splitting, case folding, stop words, stemming, synonyms.

Index and query use the same splitting, so both have the same terms.

The groups of synonyms were written by hand for what tools do: verbs of APIs, their nouns, common abbreviations and file
types. Synonyms extend a query at a fraction of a word's own weight. They are not part of the index, so a changed group
needs no new index.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import Final

from utcp_bridge.late.patterns import late_pattern

__all__ = ["STOP_WORDS", "chunks", "compact", "normalise", "stem", "synonyms_of", "terms", "terms_of_chunk"]

_CHUNK: Final = late_pattern(r"\w+(?:[-'\u2019.]\w+)*")
_PIECE: Final = late_pattern(r"[^\W_]+")
_CAMEL: Final = late_pattern(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_APOSTROPHE: Final = late_pattern(r"['\u2019](?:s|m|re|ve|ll|d|t)?\b", re.IGNORECASE)
_CJK_RUN: Final = late_pattern("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af]+")
_MARKS: Final = late_pattern("[\u0300-\u036f]")
_MAX_CHUNK: Final = 64
_JOINED_PARTS: Final = 3
_VOWELS: Final = frozenset("aeiouy")

_STOP_WORDS: Final = """
a able about above actually additionally after again all along also am an and any anyone anything are aren as assist
assistance at b be because been before being better between both but by c can cannot certain could couldn curious
currently d dear did didn do does doesn doing don down during e each effectively ensure ensuring etc everything f
few finally firstly for from further furthermore g gather give given gives giving going gonna good got great had has
have having he hello help helpful helping helps her here hers hey hi him his hope hoping how however i if im in
interested into is isn it its itself ive j just k kindly know knowing l lastly let lets like liked likes ll look
looking lot lots love m make many maybe me mention mentioned more moreover most much my n nd need needed needing
needs next no nor not o of off ok okay on once only or other our ours out over own p particular please possible
possibly provided provides q quite r rd re really recently regarding related relevant s same secondly several she
should so some somebody someone something specific specifically st such sure t tell tells th than thank thanks that
the their theirs them then there these they thing things think thinking this those through to too try trying u under
understand until up upon us use used uses using v variety various very via w wanna want wanted wanting wants was way
ways we well were what when where whether which while who whom whose why will wish with wonder wondering would x y
yes yet you your yours z
"""
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())


def normalise(text: str) -> str:
    """Return the text in NFKC without accents of Latin letters; letter case stays, for camel case."""
    if text.isascii():
        return text
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text))
    return unicodedata.normalize("NFC", _MARKS.sub("", decomposed))


def chunks(text: str) -> list[str]:
    """Return the runs of word characters as written, with inner hyphens, dots and apostrophes."""
    found: list[str] = _CHUNK.findall(normalise(text))
    return found


def compact(text: str) -> str:
    """Return only the case-folded letters and digits, the form in which full tool names are compared."""
    return "".join(_PIECE.findall(normalise(text))).casefold()


def terms(text: str) -> list[str]:
    """Return the index terms of a text in order, with repetitions and without stop words."""
    found: list[str] = []
    for chunk in chunks(text):
        found += terms_of_chunk(chunk)
    return found


@lru_cache(maxsize=4_096)
def terms_of_chunk(chunk: str) -> tuple[str, ...]:
    """Return the terms of one chunk: its parts, and the parts joined again."""
    if len(chunk) > _MAX_CHUNK:
        chunk = chunk[:_MAX_CHUNK]
    if chunk.isascii() and chunk.islower() and chunk.isalpha():
        return _kept(chunk)
    found: list[str] = []
    pieces = _PIECE.findall(_APOSTROPHE.sub("", chunk))
    for piece in pieces:
        parts = _CAMEL.findall(piece) if piece.isascii() else _foreign(piece)
        for part in parts:
            found += _kept(part.casefold())
        if len(parts) > 1 and piece.isascii():
            found += _kept(piece.casefold())
    if 1 < len(pieces) <= _JOINED_PARTS:
        found += _kept("".join(pieces).casefold())
    return tuple(found)


def _kept(word: str) -> tuple[str, ...]:
    return () if word in STOP_WORDS else (stem(word),)


def _foreign(piece: str) -> list[str]:
    """Return the parts of a word in another script: CJK runs in overlapping pairs, the rest unchanged."""
    found: list[str] = []
    position = 0
    for run in _CJK_RUN.finditer(piece):
        found += [piece[position : run.start()]] if position < run.start() else []
        text = run.group()
        found += [text[i : i + 2] for i in range(max(1, len(text) - 1))]
        position = run.end()
    return found + ([piece[position:]] if position < len(piece) else [])


@lru_cache(maxsize=4_096)
def stem(word: str) -> str:
    """Return the stem of an English word (plurals, -ed and -ing, final e and y); other words stay unchanged."""
    if len(word) < 4 or not word.isascii() or not word.isalpha():
        return word
    word = _participle(_singular(word))
    if len(word) > 4 and word.endswith("e"):
        return word[:-1]
    if len(word) > 3 and word.endswith("y") and word[-2] not in _VOWELS:
        return word[:-1] + "i"
    return word


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if (word.endswith(("sses", "shes", "ches", "zes")) and len(word) > 5) or word.endswith("xes"):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _participle(word: str) -> str:
    if len(word) < 5:
        return word
    if word.endswith("ied"):
        return word[:-3] + "y"
    for suffix in ("ing", "ed"):
        base = word[: -len(suffix)]
        if word.endswith(suffix) and len(base) > 2 and base[-1] != "e" and not _VOWELS.isdisjoint(base):
            doubled = base[-1] == base[-2] and base[-1] not in "lsz" and len(base) > 3
            return base[:-1] if doubled else base
    return word


_GROUPS: Final = """
create generate produce compose build
add append insert attach
delete remove erase destroy drop
update edit modify change alter
get fetch retrieve read obtain
find search lookup query discover locate
list enumerate show display browse
send post deliver dispatch submit
cancel abort revoke
start launch run execute trigger
stop halt terminate kill shutdown
copy duplicate clone
rename retitle
convert transform translate exchange
compute calculate evaluate determine
compare contrast difference diff
verify validate check confirm
download export fetch
upload import
schedule plan arrange organize itinerary
book reserve reservation booking
buy purchase order shop acquire
sell sale
pay payment checkout
refund chargeback
merge combine join concatenate
split divide separate
filter narrow
sort rank order
summarize summary abstract digest
explain describe description
analyze analysis analytics insight examine
recommend suggest recommendation suggestion
notify notification alert reminder remind
subscribe subscription
monitor track watch tracking
count number total quantity
average mean
maximum max highest
minimum min lowest
forecast predict prediction outlook
history historical past
latest recent newest new
current now present live realtime
popular trending top hot
nearby near closest nearest around
random shuffle
price cost fee rate
cheap budget affordable inexpensive discount
discount coupon deal promo offer voucher
currency money forex fx
dollar usd
euro eur
pound gbp
bitcoin btc crypto cryptocurrency
ethereum eth crypto
stock share equity ticker
invest investment portfolio
loan mortgage credit
finance financial
tax vat
salary wage income earning
bank banking account
invoice bill receipt
company business firm corporation enterprise
customer client buyer
product item goods merchandise
shop store retail ecommerce
cart basket
shipment parcel package delivery courier
weather forecast temperature climate
rain precipitation
air pollution aqi
map location place geography
address street location
coordinate latitude longitude geolocation gps
latitude lat
longitude lon lng
geocode coordinate
zip zipcode postal postcode
country nation
city town municipality
distance far
route direction navigation path
drive car vehicle automobile
car auto vehicle
flight airline airplane plane
airport airline
train railway rail
hotel accommodation lodging stay hostel
rent rental lease
house home property estate apartment
trip travel journey vacation tour holiday
restaurant dining dine eatery
food meal dish cuisine
recipe cook cooking ingredient
drink beverage cocktail
diet nutrition calorie
fitness workout exercise gym
doctor physician medical
health medical wellness
medicine drug medication pharmaceutical
disease illness condition
movie film cinema
tv television show series
song track music
lyrics song
artist singer musician
album record
playlist music
video clip youtube
image photo picture
logo icon
audio sound voice
speech voice spoken
subtitle caption transcript
book novel literature
author writer
paper article publication research
news headline article
journal paper
course class lesson tutorial
learn study education teach
job career employment vacancy
resume cv
candidate applicant
employee staff worker
person people
user account member
friend contact
email mail inbox
message chat sms text
phone telephone mobile cell
call phone
meeting appointment event
calendar schedule agenda
task todo
note memo
ticket issue bug
issue bug
repository repo
commit changeset
pull merge
branch fork
code program script
debug troubleshoot diagnose
test quiz exam
database db
table sheet
spreadsheet excel xlsx xls
presentation slide powerpoint pptx ppt deck
document doc docx word
pdf document
file document
folder directory
csv spreadsheet
chart graph plot diagram
column field
row record
text string
word vocabulary
sentence text
language translation
synonym thesaurus
dictionary definition
spell spelling grammar
url link website site
web internet online
website webpage page
domain hostname
ip address
dns domain
browser web
html webpage
screenshot capture
scrape crawl extract
server host
container docker
kubernetes k8s
virtual vm
cloud aws
log trace
error exception fault
config configuration setting preference
password credential secret
token key
login signin authenticate auth
logout signout
permission access role
encrypt cipher
hash checksum digest
certificate ssl tls
date day
time clock hour
timezone time
age birthday
horoscope zodiac astrology
game gaming
sport league
soccer football
team club squad
match fixture game
player athlete
score result
standing ranking leaderboard
tournament competition championship
joke humor funny
quote quotation
image png jpg jpeg
color colour hue
shape geometry
area surface
weight mass
height tall
speed velocity
equation formula
triangle geometry
probability odds
statistic stat metric
math mathematics arithmetic
percent percentage
law legal
lawyer attorney
crime criminal
government politics political
university college school
student pupil
child kid children
pet animal dog cat
gift present
clothes clothing apparel fashion outfit dress
makeup cosmetic beauty
review rating feedback
survey questionnaire
advertisement ad campaign marketing
keyword seo
blog post
tweet twitter
hashtag tag
follower following
comment reply
category genre type
summary overview
detail info information
id identifier
name title
version release
status state
language locale
qr barcode
"""


@cache
def _expansions() -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for line in _GROUPS.strip().splitlines():
        members = [stem(word) for word in line.split()]
        for member in members:
            found.setdefault(member, {}).update(dict.fromkeys(other for other in members if other != member))
    return {member: tuple(others) for member, others in found.items()}


def synonyms_of(term: str) -> tuple[str, ...]:
    """Return the other members of a term's groups, stemmed; empty for a term without a group."""
    return _expansions().get(term, ())
