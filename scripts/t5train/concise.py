"""Shortens a question to what a person would type: attribute nouns for question words, no filler.

Words that carry meaning stay as they are: names, numbers, negation and the prepositions between
content words. A rule that is not sure leaves the question word in place.
"""

from __future__ import annotations

import re

from t5train.words import STOP, normal

POLITE = re.compile(
    r"^(?:(?:hi|hello|hey|please|okay|so|and|but|well|also)[, ]+)*"
    r"(?:(?:can|could|would|will) (?:you|someone|anyone)(?: please)? "
    r"(?:tell|show|explain|give|help)(?: me| us)?(?: with| about| to| how to find)? "
    r"|(?:please )?(?:tell|show|give) me (?:more )?(?:about )?"
    r"|(?:do|does) (?:you|anyone|anybody) know (?:if |whether )?"
    r"|i(?: would|'d) like to know (?:about |if |whether )?"
    r"|i (?:want|need) to know (?:about |if |whether )?"
    r"|i(?:'m| am) (?:looking for|wondering (?:if |whether )?|interested in) "
    r"|i (?:was|am) wondering (?:if |whether )?)",
    re.IGNORECASE,
)
BE = r"(?:is|are|was|were|'s)"
DO = r"(?:do|does|did)"
AUX = rf"(?:{BE}|{DO}|has|have|had|can|could|should|would|will)"
# The first rule that matches the whole question is applied.
RULES = tuple(
    (re.compile(rf"{pattern}$", re.IGNORECASE), result)
    for pattern, result in (
        (
            rf"what {BE} the (?:difference|differences) between (.+) and (.+)",
            r"\1 vs \2 difference",
        ),
        (rf"what(?: exactly)? {DO} (.+?) (?:mean|stand for)(?: exactly)?", r"\1 meaning"),
        (rf"what {BE} (?:the )?meaning of (.+)", r"\1 meaning"),
        (rf"what {BE} another (?:word|name|term) for (.+)", r"\1 synonym"),
        (rf"what year {DO} (.+)", r"\1 year"),
        (r"(?:in |on )?(?:what|which) (year|month|day|date) (?:was|were|is|did) (.+)", r"\2 \1"),
        (r"how old (?:is|are|was|were) (\S+(?: \S+){0,4})", r"\1 age"),
        (rf"how (tall|high) {BE} ((?:\S+ ){{0,5}}\S+)", r"\2 height"),
        (rf"how deep {BE} ((?:\S+ ){{0,5}}\S+)", r"\1 depth"),
        (rf"how far {BE} (?:it from )?(.+)", r"\1 distance"),
        (
            rf"how long {BE} ((?:the )?(?:\S+ ){{0,3}}(?:river|bridge|road|canal|tunnel|wall))",
            r"\1 length",
        ),
        (r"how long (?:does|did|will) (.+?) (?:last|take)", r"\1 duration"),
        (rf"how much {DO} ((?:\S+ ){{0,5}}\S+) (?:cost|costs)", r"\1 cost"),
        (rf"how much {DO} ((?:\S+ ){{0,5}}\S+) weigh", r"\1 weight"),
        (rf"how many (.+?) {BE} there(?: in| on| of)?", r"number of \1"),
        (rf"how many (.+?) {BE} there (in|on|of|at) (.+)", r"number of \1 \2 \3"),
        (rf"how many (.+?) {BE} (in|on) (.+)", r"number of \1 \2 \3"),
        (r"how many (\S+) (?:does|do|did) (.+?) have", r"\2 number of \1"),
        (r"how (?:do|can|could|should|would|to) (?:i|you|we|one|someone) (.+)", r"how to \1"),
        (r"how many people live in (.+)", r"\1 population"),
        (r"when (?:was|were) (.+?) born", r"\1 birth date"),
        (r"when (?:did) (.+?) die", r"\1 death date"),
        (r"when (?:did) (.+?) (?:start|begin)", r"\1 start date"),
        (r"when (?:did) (.+?) end", r"\1 end date"),
        (r"when (?:did) (.+?) come out", r"\1 release date"),
        (r"when (?:was|were|is) (.+?) (?:released|coming out)", r"\1 release date"),
        (r"when (?:was|were) (.+?) (?:built|completed|constructed)", r"\1 construction date"),
        (r"when (?:was|were) (.+?) (?:founded|established)", r"\1 founding date"),
        (r"when (?:was|were) (.+?) (?:written|published)", r"\1 publication date"),
        (r"when (?:was|were) (.+?) (?:invented|created)", r"\1 invention date"),
        (r"when (?:was|were) (.+?) discovered", r"\1 discovery date"),
        (r"when (?:was|were) (?:the )?(first|last) (.+)", r"\1 \2 date"),
        (rf"when {BE} (.+)", r"\1 date"),
        (r"when (?:did|do|does|will|has|have) (.+)", r"\1 date"),
        (r"where (?:was|were) (.+?) born", r"\1 birthplace"),
        (rf"where {BE} (.+?) (?:filmed|shot)", r"\1 filming location"),
        (rf"where {BE} (.+?)(?: located| found| at)?", r"\1 location"),
        (rf"where {DO} (.+?) (?:come|came|originate) from", r"\1 origin"),
        (r"where (?:can|could|do|should) (?:i|you|we|one) (?:buy|order) (.+)", r"buy \1"),
        (
            r"where (?:can|could|do|should) (?:i|you|we|one) (find|get|see|watch) (.+)",
            r"where to \1 \2",
        ),
        (r"what (?:causes|caused) (.+)", r"\1 causes"),
        (r"(what (?:happens|happened|comes|came) .+)", r"\1"),
        (r"who (?:wrote|has written|is the author of|was the author of) (.+)", r"\1 author"),
        (r"who (?:sang|sings|sung) (.+)", r"\1 singer"),
        (r"who (?:directed) (.+)", r"\1 director"),
        (r"who (?:invented) (.+)", r"\1 inventor"),
        (r"who (?:discovered|found) (.+)", r"\1 discoverer"),
        (r"who (?:founded|started) (.+)", r"\1 founder"),
        (r"who (?:created|made) (.+)", r"\1 creator"),
        (r"who (?:won|wins|has won) (.+)", r"\1 winner"),
        (r"who (?:owns|owned) (.+)", r"\1 owner"),
        (r"who (?:designed|built) (.+)", r"\1 designer"),
        (r"who (?:played|plays|is playing|will play) (.+)", r"\1 actor"),
        (r"who (?:killed|shot|murdered) (.+)", r"\1 killer"),
        (r"who (?:does|did|is|was) the voice of (.+)", r"\1 voice actor"),
        (r"who (?:painted) (.+)", r"\1 painter"),
        (r"who (?:composed) (.+)", r"\1 composer"),
        (rf"(?:who|what|which){BE} (?:the )?(?:name|names) of (.+)", r"\1 name"),
        (rf"(?:who|what|which) {BE} (.+?)(?: called| known as)?", r"\1"),
        (r"(?:who|what|which)'s (.+)", r"\1"),
        (r"(?:is|are|was|were) there (?:any |some )?(.+)", r"\1"),
        (rf"why {AUX} (.+)", r"why \1"),
        (rf"(?:which|what) (.+?) {BE} (.+)", r"\1 \2"),
        (r"(?:which|what) (?:type|kind|sort)s? of (.+)", r"types of \1"),
        (r"(?:which|what) ((?!do |does |did |can |should |would |will |has |have |i ).+)", r"\1"),
        (rf"{AUX} (?:i|you|we|it|they|one) (.+)", r"\1"),
        (rf"{AUX} (.+)", r"\1"),
    )
)
# Not in "vitamin a"; capital only at the start, since "The Beatles" and "Series A" are names.
ARTICLE = re.compile(
    r"(?:(?<!vitamin )(?<!hepatitis )(?<!type )(?<!class )(?<!series )\b(?:a|an|the)|^(?:A|An))"
    r" (?=\S)"
)
# The first one is an auxiliary; "do" after it is what is done.
AUXILIARY = re.compile(rf"\b{DO}\b(?!['\u2019.-])", re.IGNORECASE)
FILLER = re.compile(
    r"\b(?:is|are|was|were|i|you|we|my|your|our|me|they|really|actually|exactly|just|please"
    r"|currently|usually|generally|some|any|there|been|am|also)\b(?!['\u2019.-])",
    re.IGNORECASE,
)
QUESTION = re.compile(rf"(?:who|what|which|when|where|why|how|whose|{AUX})\b", re.IGNORECASE)
UNSURE = re.compile(r"(?:who|what|which|when|where|why|how)\b", re.IGNORECASE)
DANGLING = re.compile(
    r"(?<! known)(?<! famous)(?<! used)(?<! made)(?<! belong)(?<! consist)"
    r"(?: (?:for|of|to|in|on|at|with|from|by|about|and|or|that|which|who))+$",
    re.IGNORECASE,
)
NEGATION = frozenset("no not never none nor neither without cannot".split())  # noqa: SIM905
MAX_WORDS = 14


def concise(question: str) -> str | None:
    """The search for a question or request; None if no safe shortening is known."""
    text = " ".join(question.replace(" ?", "?").split()).rstrip("?.! ")
    if ". " in text or "? " in text or '"' in text:
        return None
    text = POLITE.sub("", text, count=1)
    is_question = QUESTION.match(text) is not None
    for rule, result in RULES:
        if rule.match(text):
            text = rule.sub(result, text, count=1)
            break
    text = ARTICLE.sub("", text.replace(", ", " "))
    if is_question:
        how_to = "how to " if text.startswith("how to ") else ""
        shorter = AUXILIARY.sub(" ", text.removeprefix(how_to), count=1)
        text = how_to + " ".join(FILLER.sub(" ", shorter).split())
        if not UNSURE.match(text) or how_to:
            text = DANGLING.sub("", text).removeprefix("of ")
    text = _uncapitalised(" ".join(text.split()), question)
    return text if _is_safe(text, question) else None


def _uncapitalised(text: str, question: str) -> str:
    """The text with a small first letter if that word opens the question and is no name."""
    first = text.partition(" ")[0]
    opens = question.startswith(first) and (QUESTION.match(first) or first.lower() in STOP)
    return text[:1].lower() + text[1:] if opens else text


def _is_safe(text: str, question: str) -> bool:
    """Whether a search keeps negation and is neither too short nor too long.

    Of a question for yes or no, two words say too little: `astrology work`.
    """
    search_words, question_words = normal(text).split(), normal(question).split()
    least = 3 if re.match(rf"{AUX}\b", question, re.IGNORECASE) else 2
    negated = [
        word for word in question_words if word in NEGATION or word.endswith(("n't", "n\u2019t"))
    ]
    return least <= len(search_words) <= MAX_WORDS and all(word in search_words for word in negated)
