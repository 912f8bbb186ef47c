"""What all sides pin, and queries: records to digests, Δ, σ, limit and width."""

import math
import re
from decimal import Decimal, localcontext
from fractions import Fraction

from tests.vectors.reading.rules import PARTIES, digest_of, exactly, named, parsed, rule, sha256

MOST_SCORES = 1 << 20
NAME, KEY = re.compile("[a-z0-9][a-z0-9_-]{0,62}"), re.compile("[0-9a-f]{64}")


def digest(kind, json):
    return {"digest": digest_of(kind, parsed(json))}


def check_roster(sites, parties, dealer):
    keys = [key for _, _, key in sites] + list(parties) + [dealer] * bool(dealer)
    rule(len(parties) == PARTIES and all(KEY.fullmatch(key) for key in keys) and len(set(keys)) == len(keys), "keys")


def check_mechanism(told):
    exactly(told, kind=str, level=float, sampling=float, count=int, where=str, scope=str, winners=int)
    rule(told["kind"] in ("gaussian", "exponential") and told["where"] in ("parties", "home"))
    rule(0 < told["level"] < math.inf and 0 < told["sampling"] <= 1 and told["count"] >= 1)
    rule(1 <= told["winners"] <= (1 if told["kind"] == "gaussian" else MOST_SCORES), "winners")


def check_study(told):
    exactly(
        told,
        **{"name": str, "schema": dict, "methods": list, "privacy": dict, "donors_bound": int, "quorum": int},
        **{"roster": list, "parties": list, "dealer": str, "secure": str, "holdout": (dict, type(None))},
        sanitize=(dict, type(None)),
    )
    check_holdout(told["holdout"])
    check_sanitize(told["sanitize"])
    check_schema(told["schema"])
    rule(NAME.fullmatch(told["name"]))


def check_holdout(told):
    if told is not None:
        exactly(told, share=float, canaries=int)
        rule(0 < told["share"] <= 0.9 and 0 <= told["canaries"] <= 100_000, "holdout")


def check_sanitize(told):
    if told is not None:
        none = type(None)
        exactly(told, kind=str, keep=(int, str), basis=str, epsilon=(float, none), labels_epsilon=(float, none))
        rule(told["kind"] in ("laplace", "metric") and told["basis"] in ("dct", "haar"), "sanitizer")
        rule(told["keep"] == "all" or (type(told["keep"]) is int and told["keep"] >= 1), "keep")
        for name, most in (("epsilon", 1e6), ("labels_epsilon", 80.0)):
            rule(told[name] is None or 0 < told[name] <= most, name)


def check_schema(told):
    exactly(
        told,
        **{"genes": list, "labels": list, "low": float, "high": float, "unit": str, "panel": str, "batch": str},
        **{"fill": (float, type(None)), "lacking": float, "rows_per_donor": (int, type(None))},
        tokens=(dict, type(None)),
        dosages=bool,
    )
    check_tokens(told)
    rule(told["low"] < told["high"] and told["unit"] in ("donor", "row"))
    rule(all(names and len(set(names)) == len(names) for names in (told["genes"], told["labels"])), "names")
    rule(told["fill"] is None or told["low"] <= told["fill"] <= told["high"], "fill")
    rule(0 <= told["lacking"] <= 1 and told["batch"] in ("none", "ranks"))
    rule(told["rows_per_donor"] is None or told["rows_per_donor"] >= 1, "rows of a donor")


def check_tokens(schema):
    if (tokens := schema["tokens"]) is not None:
        exactly(tokens, letters=str, k=int)
        letters, size = tokens["letters"], len(tokens["letters"]) ** tokens["k"]
        rule(len(letters) >= 2 and len(set(letters)) == len(letters), "letters")
        rule(all("A" <= letter <= "Z" and letter != "N" for letter in letters), "letters")
        rule(tokens["k"] >= 1 and size < 1 << 16, "tokens")
        rule((schema["low"], schema["high"]) == (0, size) and schema["fill"] is None, "codes")
        rule(schema["batch"] == "none", "codes")


def check_people(told):
    for site in told["roster"]:
        exactly(site, name=str, cap=int, key=str)
        rule(NAME.fullmatch(site["name"]) and site["cap"] >= 1, "a site")
    for method in told["methods"]:
        exactly(method, kind=str, name=(str, type(None)), noise=float, options=dict)
        rule(NAME.fullmatch(method["name"] or method["kind"]) and method["noise"] > 0, "a method")
    for names in ([s["name"] for s in told["roster"]], [m["name"] or m["kind"] for m in told["methods"]]):
        rule(names and len(set(names)) == len(names), "names")


def check_privacy(told):
    privacy, maybe = told["privacy"], (float, type(None))
    exactly(privacy, trust=str, epsilon=maybe, delta=maybe, colluders=int, retries=float)
    private = named({"distributed": True, "local": True, "site": True, "none": False}, privacy["trust"])
    rule((privacy["epsilon"] is not None) == (privacy["delta"] is not None) == private, "epsilon and delta")
    rule(not private or 0 < privacy["delta"] <= 1 / (10 * told["donors_bound"]), "delta")
    rule(not private or privacy["epsilon"] > 0, "epsilon")
    rule(0 <= privacy["colluders"] < PARTIES and 0 <= privacy["retries"] <= 1 and told["donors_bound"] >= 1)
    rule(told["secure"] == "on" or (told["secure"] == "off" and privacy["trust"] in ("local", "none")), "secure")


def study(study, plan):
    for check in (check_study, check_people, check_privacy):
        check(study)
    rule(1 <= study["quorum"] <= len(study["roster"]), "quorum")
    for mechanism in exactly(plan, mechanisms=list)["mechanisms"]:
        check_mechanism(mechanism)
    sites = [[site["name"], site["cap"], site["key"]] for site in study["roster"]]
    if study["parties"] or study["dealer"] or any(key for _, _, key in sites):
        check_roster(sites, study["parties"], study["dealer"])
    roster, priced = digest_of("roster", [sites, study["parties"], study["dealer"]]), digest_of("plan", plan)
    pinned = {"caps": [site[:2] for site in sites], "colluders": study["privacy"]["colluders"]}
    under = pinned | {"quorum": study["quorum"], "roster": roster, "plan": priced}
    return {"study": digest_of("study", study), "plan": priced, "roster": roster, "terms": terms_digest(under)}


def terms_digest(told):
    exactly(told, caps=list, colluders=int, quorum=int, roster=str, plan=str)
    caps = told["caps"]
    rule(all([type(x) for x in cap] == [str, int] and cap[1] >= 1 for cap in caps), "caps")
    rule(len({site for site, _ in caps}) == len(caps), "every site once")
    rule(0 <= told["colluders"] < PARTIES and 1 <= told["quorum"] <= len(caps), "colluders, quorum")
    return digest_of("terms", [caps, *(told[name] for name in ("colluders", "quorum", "roster", "plan"))])


def terms(terms, roster):
    exactly(roster, sites=list, parties=list, dealer=str)
    rule(all([type(x) for x in site] == [str, int, str] for site in roster["sites"]), "sites")
    check_roster(**roster)
    found = digest_of("roster", [roster["sites"], roster["parties"], roster["dealer"]])
    rule(terms["roster"] == found and terms["caps"] == [site[:2] for site in roster["sites"]], "the terms' roster")
    return {"terms": terms_digest(terms), "roster": found}


QUESTION = {
    "length": int,
    "reply_length": int,
    "bound": float,
    "reduce": str,
    "unit": str,
    "precision": str,
    "monotone": bool,
}
WHEN = {"study": str, "run": str, "method": str, "step": int, "attempt": int, "scale": float, "payload_digest": str}


def hypot(x, y):
    """√(x² + y²) to the nearest float64."""
    with localcontext(prec=400):
        return float((Decimal(x) ** 2 + Decimal(y) ** 2).sqrt())


def micro_batches(donors, rate, m):
    def unlikely(k):
        a = k / donors
        rest = (1 - a) * math.log((1 - a) / (1 - rate)) if a < 1 else 0.0
        return donors * (a * math.log(a / rate) + rest) >= 12 * math.log(10)

    if rate >= 1:
        return -(-donors // m)
    most = next((k for k in range(math.floor(donors * rate) + 1, donors + 1) if unlikely(k)), donors)
    return -(-most // m)


def units_of(question, under):
    return len(under["caps"]) if question["unit"] == "site" else sum(cap for _, cap in under["caps"])


def selection_of(question, under, scale):
    """What the parties select by, with the rate of each one's noise; None for a sum or without noise."""
    mechanism, m, k = question["mechanism"], question["length"], question["reply_length"]
    if question["reduce"] == "sum" or mechanism is None:
        return None
    units, step = units_of(question, under), int(scale * question["bound"])
    rule(m * k <= 1 << 26 and units * step <= 1 << 53, "draws, sums of scores")
    told = {"scores": m, "winners": k, "epsilon": mechanism["level"], "sensitivity": step, "units": units}
    rate = Fraction(mechanism["level"]) / (step * (1 if question["monotone"] else 2))
    return told | {"monotone": question["monotone"], "rate": str(rate)}


def derived_of_scores(question, under, scale):
    """The same of a selection: nothing is rounded, and its noise is no σ."""
    chosen = selection_of(question, under, scale)
    if chosen is None:
        limit = units_of(question, under) * scale * question["bound"]
    else:
        noise = PARTIES * (46.0 + math.log(PARTIES * chosen["scores"])) / float(Fraction(chosen["rate"]))
        limit = chosen["units"] * chosen["sensitivity"] + noise
    return scale * question["bound"], 0.0, 0.0, 0.0, limit


def derived(question, under, scale):
    """Δ, σ, a party's σ, a site's σ, the limit, in the order of the page's rules."""
    if question["reduce"] == "select":
        return derived_of_scores(question, under, scale)
    n, c, mechanism = question["length"], question["bound"], question["mechanism"]
    caps = [cap for _, cap in under["caps"]]
    home = mechanism is not None and mechanism["where"] == "home"
    if question["precision"] == "float64":
        adding = max(caps) ** 2 * 2.0**-52
    else:
        m, each = (16, 2 * 16**2) if question["precision"] == "float32" else (128, 128 * 131)
        adding = micro_batches(max(caps), mechanism["sampling"] if mechanism else 1.0, m) * each * 2.0**-24
    sensitivity = scale * c * (1 + adding) + math.sqrt(n)
    noised = mechanism is not None and not (home and question["unit"] == "site")
    sigma = hypot(mechanism["level"] * sensitivity, 2.0) if noised else 0.0
    honest = PARTIES - under["colluders"]
    makers = len(caps) if home else PARTIES / honest
    limit = units_of(question, under) * (scale * c + 1) + len(caps) + 10.0 * (sigma * math.sqrt(makers))
    return sensitivity, sigma, *((0.0, sigma) if home else (sigma / math.sqrt(honest), 0.0)), limit


def scale_of(question, under):
    if question["reduce"] == "select":
        finest = Fraction(question["bound"]).denominator
        rule(finest <= 1 << 20, "a multiple of 2^-20")
        return float(finest)
    n, c = Fraction(question["length"]), Fraction(question["bound"])
    scale = Fraction(2) ** math.ceil(math.log2(math.sqrt(n) / (2.0**-10 * float(c))))
    fitting = []
    while n <= (Fraction(1, 50) * scale * c) ** 2:
        fitting.append((float(scale), derived(question, under, float(scale))[-1]))
        scale /= 2
    fitting = [(s, limit) for s, limit in fitting if limit < 2.0**62]
    return next((s for s, limit in fitting if limit < 2.0**30), fitting[0][0])


def check_question(told):
    exactly(told, mechanism=(dict, type(None)), **QUESTION)
    rule(told["reduce"] in ("sum", "select") and told["unit"] in ("donor", "site"), "reduction, unit")
    rule(told["precision"] in ("float64", "float32", "float32x128"), "a precision")
    rule(told["length"] >= 1 and 0 < told["bound"] < math.inf, "length, bound")
    mechanism, selects = told["mechanism"], told["reduce"] == "select"
    rule(selects or not told["monotone"], "monotone for selections")
    rule(not selects or 1 <= told["reply_length"] <= told["length"] <= MOST_SCORES, "winners, scores")
    if mechanism is not None:
        check_mechanism(mechanism)
        rule((mechanism["kind"] == "exponential") == selects, "noise of the kind that suits")
        priced = (mechanism["where"], mechanism["winners"]) == ("parties", told["reply_length"])
        rule(not selects or priced, "a selection by the parties, all its winners paid for")
    return told


def asked(header, under, study=None, run=None):
    """Width, derived numbers and digest of a query."""
    exactly(header, question=dict, terms=str, **WHEN)
    question = check_question(header["question"])
    rule(header["terms"] == terms_digest(under), "terms")
    rule((header["study"], header["run"]) == (study or header["study"], run or header["run"]), "Study and run")
    rule(min(header["step"], header["attempt"]) >= 0, "step, attempt")
    rule(header["scale"] == scale_of(question, under), "scale")
    sensitivity, sigma, sigma_party, sigma_home, limit = derived(question, under, header["scale"])
    rule(limit < 2.0**62 and (sigma == 0 or max(sigma_party, sigma_home) >= 4), "range, noise")
    width = 32 if limit < 2.0**30 else 64
    digest = digest_of("query", [header, [width, sensitivity.hex(), sigma.hex()]])
    floats = {"sensitivity": sensitivity, "sigma": sigma, "sigma_party": sigma_party, "sigma_home": sigma_home}
    told = {name: value.hex() for name, value in (floats | {"limit": limit}).items()}
    chosen = selection_of(question, under, header["scale"])
    return {"digest": digest, "width": width, "selection": chosen} | told


def query(header, terms, study, run):
    return asked(header, terms, study, run)


def payload(header, terms, arrays):
    held = [
        [name, array["dtype"], array["shape"], sha256(bytes.fromhex(array["data"]))]
        for name, array in sorted(arrays.items())
    ]
    rule(header["payload_digest"] == digest_of("payload", held), "payload")
    return {"digest": asked(header, terms)["digest"]}
