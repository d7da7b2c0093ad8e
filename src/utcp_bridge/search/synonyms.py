"""Groups of words that tools and people use for the same thing.

Written by hand for what tools do: verbs of APIs, their nouns, common abbreviations and file types.
They widen a query at a fraction of a word's own weight and never enter the index, so that editing a
group needs no re-indexing.
"""

from __future__ import annotations

from typing import Final

from utcp_bridge.search.text import stem

__all__ = ["synonyms_of"]

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


def _expansions() -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for line in _GROUPS.strip().splitlines():
        members = [stem(word) for word in line.split()]
        for member in members:
            found.setdefault(member, {}).update(dict.fromkeys(other for other in members if other != member))
    return {member: tuple(others) for member, others in found.items()}


_EXPANSIONS: Final = _expansions()


def synonyms_of(term: str) -> tuple[str, ...]:
    """The other members of a term's groups, stemmed; none for a term in no group."""
    return _EXPANSIONS.get(term, ())
