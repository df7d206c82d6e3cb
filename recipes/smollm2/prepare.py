"""Token arrays of the training data: passages, questions with answers, cloze spans, pairs; and SQuAD dev to measure on.

    python recipes/smollm2/prepare.py BASE DATA      # writes train.npz and gold.json into the current folder

BASE: the base as a transformers folder; DATA: the folder of the public data, as `.jsonl.xz`.
"""

# ruff: noqa
import json, lzma, random, re, sys, time
import numpy as np
from transformers import AutoTokenizer

D = sys.argv[2].rstrip("/") + "/"
tok = AutoTokenizer.from_pretrained(sys.argv[1])
rng = random.Random(0)


def rows(name):
    with lzma.open(f"{D}{name}.jsonl.xz", "rt", encoding="utf-8") as f:
        for l in f:
            yield json.loads(l)


def enc(texts):
    return (
        tok(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        if texts
        else []
    )


class Flat:
    def __init__(s):
        s.v = []
        s.o = [0]

    def add(s, ids):
        s.v.append(np.asarray(ids, dtype=np.uint16))
        s.o.append(s.o[-1] + len(ids))

    def save(s, out, name):
        out[name] = np.concatenate(s.v) if s.v else np.zeros(0, np.uint16)
        out[name + "_o"] = np.asarray(s.o, dtype=np.int64)


def clean(t):
    return t.replace("_", " ").replace("%28", "(").replace("%29", ")").replace("%27", "'").strip()


LONG = 272


def rc():
    """(set, article key, title, passage, [(q,a)])"""
    for r in rows("squad11_train"):
        yield (
            0,
            r["title"],
            clean(r["title"]),
            r["passage"],
            [(q["question"], rng.choice(q["answers"])) for q in r["qas"]],
        )
    for r in rows("fairytaleqa"):
        if r.get("split") == "test":
            pass
        yield (
            1,
            r["title"],
            clean(r["title"]),
            r["passage"],
            [(q["question"], q["answers"][0]) for q in r["qas"]],
        )
    for i, r in enumerate(rows("qamr")):
        if r["split"] != "dev":
            continue
        yield 2, f"qamr{i // 4}", "", r["passage"], [(q["question"], q["answers"][0]) for q in r["qas"]]
    for r in rows("timeqa_human_train"):
        for g in r["gold"][:1]:
            d = r["docs"][g]
            if r["answers"]:
                yield 3, d["title"], clean(d["title"]), d["text"], [(r["question"], r["answers"][0])]
    for r in rows("onestopqa"):
        yield (
            4,
            r["title"],
            clean(r["title"]),
            r["passage"],
            [(q["question"], q["answers"][0]) for q in r["qas"]],
        )
    for i, r in enumerate(rows("pubmedqa_labeled")):
        yield 5, f"pm{i // 4}", "", r["passage"], [(q["question"], q["answers"][0]) for q in r["qas"]]
    for r in rows("covidqa"):
        yield (
            6,
            r["title"],
            clean(r["title"]),
            r["passage"],
            [(q["question"], q["answers"][0]) for q in r["qas"]],
        )


out = {}
P, T, Q, A = Flat(), Flat(), Flat(), Flat()
qp = []
pset = []
part = []
arts = {}
recs = list(rc())
print("rc", len(recs))
pid = enc([r[3].strip() for r in recs])
tid = enc([r[2] + "\n" if r[2] else "" for r in recs])
n = 0
qs = []
qi = []
for (s, art, title, _, qas), p, t in zip(recs, pid, tid):
    if len(p) > LONG or not qas:
        continue
    P.add(p)
    T.add(t[:24])
    pset.append(s)
    part.append(arts.setdefault((s, art), len(arts)))
    for q, a in qas:
        qs.append((q.strip(), a.strip()))
        qi.append(n)
    n += 1
eq = enc(["Question: " + q + "\nAnswer:" for q, _ in qs])
ea = enc([" " + a for _, a in qs])
for i, q, a in zip(qi, eq, ea):
    if len(q) > 64 or len(a) > 40 or not a:
        continue
    Q.add(q)
    A.add(a)
    qp.append(i)
for f, nm in ((P, "rc_p"), (T, "rc_t"), (Q, "rc_q"), (A, "rc_a")):
    f.save(out, nm)
out["rc_qp"] = np.asarray(qp, np.int32)
out["rc_set"] = np.asarray(pset, np.uint8)
out["rc_art"] = np.asarray(part, np.int32)
print(
    "passages",
    n,
    "questions",
    len(qp),
    "tokens",
    P.o[-1],
    np.bincount(out["rc_set"]),
    np.bincount(out["rc_set"][out["rc_qp"]]),
)
# wiki
SPAN = re.compile(
    r"(?<![\w])(?:\d[\d,.]*\d|\d|[A-Z][\w'’-]+(?:(?: of| the| and| de| van| von)?(?: [A-Z][\w'’-]+|\s\d+))*)(?![\w])"
)
P, T = Flat(), Flat()
art = []
cl = []
n = 0
t0 = time.time()
files = ["text_wiki_train.0"]
for name in files:
    buf = []
    docs = list(rows(name))
    for c in range(0, len(docs), 200):
        chunk = docs[c : c + 200]
        # passages: sentences packed up to a drawn length
        texts = []
        meta = []
        for di, d in enumerate(chunk):
            for para in d["text"].split("\n"):
                sents = re.split(r'(?<=[.!?])\s+(?=[A-Z"“])', para.strip())
                cur = ""
                lim = rng.choice((350, 500, 700, 900, 1000))
                for s in sents:
                    if cur and len(cur) + len(s) > lim:
                        texts.append(cur)
                        meta.append((c + di, d["title"]))
                        cur = ""
                        lim = rng.choice((350, 500, 700, 900, 1000))
                    cur = (cur + " " + s).strip()
                if len(cur) > 120:
                    texts.append(cur)
                    meta.append((c + di, d["title"]))
        e = tok(
            texts,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        te = {k: v for k, v in zip({m[1] for m in meta}, enc([m + "\n" for m in {m[1] for m in meta}]))}
        for text, (a, title), ids, off in zip(texts, meta, e["input_ids"], e["offset_mapping"]):
            if not 30 <= len(ids) <= LONG:
                continue
            starts = np.asarray([o[0] for o in off])
            ends = np.asarray([o[1] for o in off])
            found = []
            pos = 0
            for s in re.split(r'(?<=[.!?])\s+(?=[A-Z"“])', text):
                b = text.index(s, pos)
                pos = b + len(s)
                ts = int(np.searchsorted(starts, b, "left"))
                # GPT-2 style tokens hold their leading blank
                if ts and starts[ts - 1] == b - 1 and ends[ts - 1] > b:
                    ts -= 1
                tend = int(np.searchsorted(ends, b + len(s), "right"))
                if tend - ts > 48 or tend - ts < 8:
                    continue
                cand = [m for m in SPAN.finditer(s) if m.start() > 0 or len(m.group().split()) > 1]
                rng.shuffle(cand)
                for m in cand[:2]:
                    x, y = b + m.start(), b + m.end()
                    a1 = int(np.searchsorted(ends, y, "left"))
                    if a1 >= len(ends) or ends[a1] != y:
                        continue
                    a0 = int(np.searchsorted(ends, x, "right"))
                    if starts[a0] not in (x, x - 1):
                        continue
                    if a1 + 1 - a0 > 10:
                        continue
                    found.append((n, ts, a0, a1 + 1, tend))
            rng.shuffle(found)
            P.add(ids)
            T.add(te[title][:24])
            art.append(a + 100000 * files.index(name))
            cl += found[:6]
            n += 1
    print(name, n, len(cl), P.o[-1], time.time() - t0, flush=True)
for f, nm in ((P, "w_p"), (T, "w_t")):
    f.save(out, nm)
cl = np.asarray(cl, np.int32)
out["w_c"] = cl[:, 0]
out["w_cs"] = cl[:, 1:].astype(np.uint16)
out["w_art"] = np.asarray(art, np.int32)
for i in rng.sample(range(len(cl)), 12):
    p, s, a0, a1, e = cl[i]
    ids = P.v[p]
    print(repr(tok.decode(ids[s:a0])), ">>", repr(tok.decode(ids[a0:a1])), "<<", repr(tok.decode(ids[a1:e])))
# paraphrases
S, G = Flat(), Flat()
src = []
tgt = []
for nm in ("paraphrase_wikisplit", "paraphrase_onestopenglish"):
    for r in rows(nm):
        src.append(r["text"].strip())
        tgt.append(r["paraphrases"][0].strip())
for s, g in zip(enc(src), enc([" " + t for t in tgt])):
    if len(s) <= 96 and len(g) <= 96:
        S.add(s)
        G.add(g)
S.save(out, "pp_s")
G.save(out, "pp_t")
# dev
P, T, Q = Flat(), Flat(), Flat()
qp = []
gold = []
art = []
dev = list(rows("squad11_dev"))
for p, t, r in zip(
    enc([r["passage"].strip() for r in dev]), enc([clean(r["title"]) + "\n" for r in dev]), dev
):
    P.add(p)
    T.add(t)
    art.append(r["title"])
qs = [(i, q) for i, r in enumerate(dev) for q in r["qas"]]
random.Random(1).shuffle(qs)
qs = qs[:3000]
for (i, q), e in zip(qs, enc(["Question: " + q["question"].strip() + "\nAnswer:" for _, q in qs])):
    Q.add(e)
    qp.append(i)
    gold.append(q["answers"])
for f, nm in ((P, "d_p"), (T, "d_t"), (Q, "d_q")):
    f.save(out, nm)
out["d_qp"] = np.asarray(qp, np.int32)
out["d_art"] = np.unique(art, return_inverse=True)[1].astype(np.int32)
import io

np.savez("train.npz", **out)
json.dump(gold, open("gold.json", "w"))
