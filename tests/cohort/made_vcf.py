"""VCFs made for tests, and a reader of them as naive as can be."""

from pathlib import Path

from hypothesis import strategies as st

HEAD = [
    "##fileformat=VCFv4.2",
    "##contig=<ID=1>",
    "##contig=<ID=X>",
    '##INFO=<ID=CSQ,Number=.,Type=String,Description="By VEP. Format: Allele|IMPACT|SYMBOL|SIFT|PolyPhen">',
    '##FORMAT=<ID=GT,Number=1,Type=String,Description="genotype">',
    '##FORMAT=<ID=DP,Number=1,Type=Integer,Description="depth">',
]


def write(folder, lines, name="people.vcf", info="."):
    """Write lines (contig, POS, REF, ALT, genotypes …) as a VCF; return its path."""
    people = [f"s{i}" for i in range(len(lines[0]) - 4)]
    head = "\t".join(["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *people])
    form = ["GT:DP" if any(":" in call for call in calls) else "GT" for _, _, _, _, *calls in lines]
    body = [
        "\t".join([contig, str(at), f"rs{at}", ref, alt, ".", "PASS", info, form[i], *calls])
        for i, (contig, at, ref, alt, *calls) in enumerate(lines)
    ]
    (folder / name).write_text("\n".join([*HEAD, head, *body]) + "\n")
    return str(folder / name)


def naive(path):
    """Return the dosages by name, letter by letter: a haploid's allele counts once, a part missing is missing."""
    found = {}
    for line in Path(path).read_text().splitlines():
        if line.startswith("#"):
            continue
        contig, at, _, ref, alts, _, _, _, _, *cells = line.rstrip("\n").split("\t")
        calls = [cell.split(":")[0].replace("|", "/").split("/") for cell in cells]
        for k, alt in enumerate(alts.split(","), start=1):
            if alt not in ("*", "."):
                copies = [-1 if "." in call else call.count(str(k)) for call in calls]
                found[f"{contig}:{at}:{ref}:{alt}"] = copies
    return found


@st.composite
def lines(draw, odd=True):
    """Return lines of three people; ``odd``: haploid, with depths, of many alleles and stars too."""
    found = []
    for i in range(draw(st.integers(1, 6))):
        alts = draw(st.lists(st.sampled_from(["C", "G", "T", "AC", *(["*"] if odd else [])]), max_size=3, unique=True))
        allele = st.sampled_from([".", *map(str, range(len(alts) + 1))])
        pair = st.builds("{}{}{}".format, allele, st.sampled_from("|/"), allele)
        call = st.one_of(pair, allele, pair.map(lambda text: text + ":7")) if odd and draw(st.booleans()) else pair
        found.append(("1", 10 * i + 1, "A", ",".join(alts) or ".", *draw(st.lists(call, min_size=3, max_size=3))))
    return found
