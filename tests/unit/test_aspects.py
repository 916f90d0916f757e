"""The guard of searches: what is asked stays, as a word or as the name of an attribute."""

from __future__ import annotations

import pytest

from t5serve.reformulation.guards.aspects import derives
from t5serve.reformulation.guards.lists import ListGuards

ADEQUATE = """
how tall is the eiffel tower -> eiffel tower height
who wrote dune -> dune author
can you tell me who wrote the song imagine -> song imagine author
is it safe to take ibuprofen and paracetamol together -> ibuprofen and paracetamol interaction
how do i clean a laptop screen -> laptop screen cleaning
who is the mayor of berlin -> berlin mayor
what is the population of iceland and greenland -> iceland population ; greenland population
Who lived longer, Tesla or Edison? -> Tesla lifespan ; Edison lifespan
which river is longer, the rhine or the danube -> rhine length ; danube length
which of lace, gauze and denim is softest -> lace softness ; gauze softness ; denim softness
what are some ways to learn chess -> learn chess techniques ; chess learning tools
what is the population of the country where rome is -> rome country ; rome country population
hotels in rome below 80 euros -> hotels in rome under 80 euros
last train from ghent to brussels -> last train ghent to brussels
my washer leaks when it spins -> washer leaks when it spins
compare the depths of asia, central asia and cuba -> asia depth ; central asia depth ; cuba depth
what are the total areas of lace and denim -> lace area ; denim area
hotels in rome that are not expensive -> cheap hotels in rome
list headphones that are not too expensive -> best budget headphones ; affordable headphones reviews
When was the winner of the 44th edition of Miss World born? -> 44th Miss World winner birth date
Author Ann Lee met an envoy who served under which King? -> Ann Lee envoy met ; envoy King
my parcel from hermes hasn't arrived -> parcel from hermes hasn't arrived
My washer doesn't drain anymore, what can I do? -> washer doesn't drain ; washer troubleshooting
I can't log in to my bank account -> bank account cannot log in ; bank account login problem
where can i find the travel policy for contractors -> travel policy for contractors
where can I buy cheap lenses online -> buy cheap lenses online
could you recommend a good bakery in leeds -> bakery in leeds ; best bakery in leeds
show me all laptops with 32 gb ram -> laptops with 32 gb ram
Who exactly was Ada Lovelace? -> Ada Lovelace
i want to learn the guitar, where should i start -> learn guitar
notary in praia that is open on sundays -> notary in praia open on sundays
find restaurants that have no parking -> restaurants with no parking
what should i look for when buying a used car -> used car buying guide ; how to choose used car
is it safe to eat raw eggs -> raw eggs safety
how many calories are in a banana -> banana calories
whats the best way to remove a wine stain -> best way to remove wine stain
whats the best way too remove a wine stain -> how to remove a wine stain
Why is the moon sometimes red? -> why moon is sometimes red
which popes died before turning 50 -> popes who died before turning 50
what is delft known for -> what delft is known for
at what age can kids stay home alone -> age kids can stay home alone
how far is lyon from paris -> lyon to paris distance
how far is the sun -> sun distance
how long does it take to climb mont blanc -> how long to climb mont blanc
where was the movie jaws shot -> jaws movie filming location
which is quieter, a fan or a fridge -> fan noise ; fridge noise
who painted the night watch and when -> night watch painter ; night watch date
Which is heavier, a baboon or a Canada lynx? -> baboon weight ; Canada lynx weight
i need a washer that's under 50 cm deep, where can i get one -> washer under 50 cm deep
laptop under 600 pounds that isn't a chromebook -> laptop under 600 pounds isn't chromebook
honestly, why does it take 13 days to renew a passport -> why it takes 13 days to renew passport
hi all, my vpn drops during video calls, please help -> vpn drops during video calls
i need a good drill, where can i get one -> good drill
refund for a late parcel asap -> refund for late parcel
my toddler wakes at 4 and it's driving me crazy -> toddler wakes at 4
blood pressure 150 over 90, should i be worried -> blood pressure 150 over 90
quiet cafes in porto, any tips -> quiet cafes in porto
i'm trying to find a quiet cafe in porto -> quiet cafe in porto
look up the bus times to leeds -> bus times to leeds
check if lidl takes back used items -> lidl takes back used items
curious about cold fusion experiments -> cold fusion experiments
i'm interested in cold fusion experiments -> cold fusion experiments
i'd like to understand how bonuses are taxed -> how bonuses are taxed
how on earth do magnets work -> how magnets work
what size screw do i need to hang a mirror -> size screw to hang mirror
Our PostgreSQL 15 database has got slow -> PostgreSQL 15 database got slow
Hello, Avis charged me twice -> Avis charged twice
The router is stuck on 4.12. What could it be? -> router stuck on 4.12
has anyone managed to fold a fitted sheet -> fold fitted sheet
the tap drips at night, any idea why -> tap drips at night
cheap led strips, where can i order them -> cheap led strips
stupid question but can ducks fly -> can ducks fly
my docker container exits with code 137, why? -> docker container exits with code 137
my keyboard types the wrong letters -> keyboard types wrong letters
my router keeps rebooting -> router keeps rebooting
my printer prints blank pages -> printer prints blank pages
my watch stopped ticking -> watch stopped ticking
my wrist hurts after heavy deadlifts -> wrist hurts after heavy deadlifts
will it rain in oslo tomorrow -> rain in oslo tomorrow
how come my drive shows 931 gb -> why drive shows 931 gb
can someone walk me through resetting a router -> resetting router
how much does a nurse earn -> nurse salary
how long is strep throat contagious -> strep throat contagious duration
how old is cher and is she still touring -> cher age ; cher still touring
what is the distance between mars and venus -> mars venus distance ; mars distance ; venus distance
iphone 13 in any colour but pink -> iphone 13 in any colour but pink
"""
WRONG = """
which is better for beginners, python or javascript -> python pricing ; javascript pricing
how tall is the eiffel tower -> eiffel tower weight
how tall is the eiffel tower -> eiffel tower
why do cats purr -> cats purr
what happens if rent is not paid -> rent not paid causes
when did the author of dune die -> dune author birthplace
treatment of migraine in children -> migraine treatment
what to eat before a marathon -> what to eat marathon
what to eat before a marathon -> what to eat after a marathon
hotels in rome below 80 euros -> hotels in rome over 80 euros
i need a pizza recipe without yeast -> pizza recipe without yeast ; best pizza recipes
hotels in paris and rome -> paris hotels ; paris
whats the difference between lace and denim -> lace symptoms ; denim difference
can dogs eat grapes -> dogs eat grapes daily
water from ghent springs -> water ghent springs
hotels in rome that are not expensive -> hotels in rome
no cost bank account -> cheap bank account
hotels not near old town -> hotels near new town
hotels not old town -> new town hotels
laptop without old windows -> laptop new windows
hotels in rome that are not expensive -> expensive hotels in rome
hotels in rome that are expensive -> inexpensive hotels in rome
list headphones that are not too expensive -> best headphones ; affordable headphones reviews
my chemical romance songs -> chemical romance songs
my dog skip -> dog skip
my dog skip full movie -> dog skip full movie
my washer leaks when it spins -> when does washer leaks when it spins
cheap hotels in paris with pool -> hotels paris ; cheap hotels paris ; hotels paris with pool
my washer leaks -> when does washer leak
where can i buy lenses -> lenses
recommend a good bakery in leeds -> bakery
good will hunting cast -> hunting cast
laptops that are not from acer -> laptops from acer
notary in praia that is not open on sundays -> notary in praia open on sundays
i can no longer open files, any ideas -> open files ideas
help me find nemo -> find
how can i make my wifi faster -> wifi faster recipe
can i take sertraline with ibuprofen -> sertraline ; ibuprofen
fix hernia without surgery -> fix hernia without surgery ; fix hernia surgery
my insurance doesn't cover dental -> insurance doesn't cover dental ; insurance cover dental fix
stopped taking sertraline -> taking sertraline problem
all season tyres -> season tyres
all except one file deleted -> except one file deleted
what is good cholesterol in adults -> cholesterol in adults
how to say thank you -> how to say
is skype supported anymore -> skype supported
hey google not working -> google not working
when spring starts -> spring starts
how to use a sewing machine -> sewing machine safety
how to get a us visa -> us visa stain
is bangkok safe -> bangkok contraindications
recover deleted photos from iphone -> recover deleted camera from iphone
in what country is timbuktu -> timbuktu birthplace
why did the titanic sink -> titanic sink achievements
countries that were communist -> countries communist
companies that have fired staff -> companies with fired staff
my landlord is suing me -> suing landlord
coffee way too hot -> coffee
who painted the night watch -> night watch actor
who sang please help -> who sang
japanese for thank you -> japanese
message to boss saying thank you -> message to boss saying
my generation the who -> generation the who
my hero academia season 2 -> hero academia season 2
will ferrell movies -> ferrell movies
flights from lyon to paris -> flights from paris to lyon
which is heavier, a baboon or a canada lynx -> baboon weight ; best weight
urgent care near me -> care near me
do i need a visa for oman -> for oman
who assassinated lincoln and why -> who assassinated lincoln
who invented asap -> inventor
good morning the band -> the band
my little pony pinkie pie plush toy -> little pony pinkie pie plush toy
what's a hot dog -> hot that dog
flights between oslo and rome -> oslo flights ; rome flights
what is kombucha and where can i buy it -> what is kombucha
imei number where can i find it -> imei number
wedding card thank you -> wedding card
another way to say asap -> another way to say
song it's driving me crazy -> song
good morning my love in spanish -> my love in spanish
walk me through your resume -> your resume
baby fever at what temperature should i be worried -> baby fever temperature
where was lincoln shot -> lincoln filming location
who is the mona lisa -> mona lisa painter
my hero academia season 2 release date -> hero academia season 2 release date
may the 12 weather in london -> the 12 weather in london
will i am songs -> am songs
should felons vote -> felons who vote
can dogs eat chocolate -> dogs can eat chocolate
how far in advance should i book flights to rome -> book flights from rome how far advance
how much do you tip in oslo -> oslo tip salary
how long is strep throat contagious -> strep throat contagious playtime
is the office open between easter and may -> easter office opening hours ; may office opening hours
iphone 13 in any colour but pink -> iphone 13 in colour but pink
"""


def pairs(text: str) -> list[tuple[str, list[str]]]:
    """The query and the searches of each line."""
    lines = [line.split(" -> ") for line in text.strip().splitlines()]
    return [(query, searches.split(" ; ")) for query, searches in lines]


@pytest.mark.parametrize(("query", "searches"), pairs(ADEQUATE))
def test_an_attribute_may_stand_for_what_is_asked(query: str, searches: list[str]) -> None:
    """Words that say nothing may be left out, and several searches share the words."""
    assert ListGuards(query, ["aspects", "capitalised", "negation"]).violation(searches) is None


@pytest.mark.parametrize(("query", "searches"), pairs(WRONG))
def test_what_is_asked_stays(query: str, searches: list[str]) -> None:
    """No aspect is lost, exchanged or added."""
    assert ListGuards(query, ["aspects", "capitalised", "negation"]).violation(searches) is not None


@pytest.mark.parametrize(
    ("name", "word"), [("safety", "safe"), ("population", "populous"), ("discoverer", "discovered")]
)
def test_nouns_made_from_words(name: str, word: str) -> None:
    """They begin alike, and end in a suffix."""
    assert derives(name, word)


@pytest.mark.parametrize(("name", "word"), [("internet", "international"), ("price", "prince")])
def test_words_that_only_begin_alike(name: str, word: str) -> None:
    """They are no names of each other."""
    assert not derives(name, word)
