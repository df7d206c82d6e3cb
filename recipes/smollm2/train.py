"""Trains memories that enter a small causal model after a middle layer; on one GPU, for a given time.

A prompt is a row of items: tokens, and memory tokens. Tokens pass the lower layers among themselves, then all pass the
upper layers. One passage's questions share a row and do not see each other.

    python recipes/smollm2/train.py --base BASE --data train.npz --gold gold.json --out OUT --seconds 600
    python recipes/smollm2/train.py ... --resume recipes/smollm2/checkpoint/model --phase 0.5   # goes on from weights

Evaluates at the end and saves every minute. `--gguf FILE` dequantises the base from a GGUF file, its tokenizer and
configuration standing in BASE. LOG.md has what came of it.
"""

# ruff: noqa
import argparse, json, math, os, random, re, string, sys, time, collections, queue, threading
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

HEAD_TEXT = "Document:\n"
ap = argparse.ArgumentParser()
ap.add_argument("--base", default="base")
ap.add_argument("--gguf")
ap.add_argument("--data", default="data.npz")
ap.add_argument("--gold", default="gold.json")
ap.add_argument("--out", default="out")
ap.add_argument("--seconds", type=float, default=60)
ap.add_argument("--random-base", action="store_true")
ap.add_argument("--lr", type=float, default=1e-3)
ap.add_argument("--rank", type=int, default=32)
ap.add_argument("--layer", type=int, default=12)
ap.add_argument("--passages", type=int, default=64)
ap.add_argument("--workers", type=int, default=12)
ap.add_argument("--ablate", type=float, default=0.0, help="seconds a variant; the best goes on")
ap.add_argument("--variant", default="pooled-both")
ap.add_argument("--questions", type=int, default=300)
ap.add_argument("--resume")
ap.add_argument("--variants", default="pooled-causal,pooled-both,appended-causal,pooled-both-input")
ap.add_argument("--cpu-threads", type=int, default=1)
ap.add_argument("--micro", type=int, default=3)
ap.add_argument("--phase", type=float, default=0.0, help="where in the schedule of rates to begin")
a = ap.parse_args()
START = time.time()
cuda = torch.cuda.is_available()
dev = torch.device("cuda" if cuda else "cpu")
if not cuda:
    torch.set_num_threads(a.cpu_threads)
torch.manual_seed(0)
torch.backends.cuda.matmul.allow_tf32 = True
os.makedirs(a.out, exist_ok=True)


def log(*x):
    line = f"[{time.time() - START:6.1f}] " + " ".join(str(i) for i in x)
    print(line, flush=True)
    open(f"{a.out}/log.txt", "a").write(line + "\n")


# ---------------------------------------------------------------- data
d = np.load(a.data)
d = {k: d[k] for k in d.files}
gold = json.load(open(a.gold))
EOS, NONE = 2, 0
HEAD = [7924, 42, 198]  # checked against the tokenizer below


def flat(name):
    v, o = d[name], d[name + "_o"]
    return lambda i: v[o[i] : o[i + 1]].astype(np.int64)


rc_p, rc_t, rc_q, rc_a, w_p, w_t, pp_s, pp_t, d_p, d_t, d_q = (
    flat(n) for n in ("rc_p", "rc_t", "rc_q", "rc_a", "w_p", "w_t", "pp_s", "pp_t", "d_p", "d_t", "d_q")
)
rc_questions = collections.defaultdict(list)
for i, p in enumerate(d["rc_qp"]):
    rc_questions[int(p)].append(i)


def groups(art, sets=None):
    by = collections.defaultdict(list)
    for i, x in enumerate(art):
        by[int(x)].append(i)
    return list(by.values())


rc_sets = [
    [g for g in groups(d["rc_art"]) if d["rc_set"][g[0]] == s and any(rc_questions.get(i) for i in g)]
    for s in range(7)
]
w_groups = groups(d["w_art"])
w_cloze = collections.defaultdict(list)
for i, p in enumerate(d["w_c"]):
    w_cloze[int(p)].append(i)
CLOZE, BLANK, ASK = [None] * 3
PROMPTS = {}


def set_prompts(tok):
    enc = lambda t: tok(t, add_special_tokens=False)["input_ids"]
    global HEAD
    HEAD = enc(HEAD_TEXT)
    for name, text in (
        ("cloze", "Question: Complete:"),
        ("blank", " ____"),
        ("answer", "\nAnswer:"),
        ("quote", "Text after:"),
        ("repeat", "Repeat the document.\nAnswer:"),
        ("continue", "Continue:"),
        ("paraphrase", "In other words:"),
        ("sep", "\n"),
        ("ask", "Question:"),
    ):
        PROMPTS[name] = enc(text)


class Row:
    """One prompt: tokens with positions and blocks; memory tokens by their place in the table of memories."""

    __slots__ = ("ids", "pos", "blk", "order", "upos", "ublk", "tgt", "at", "tea", "grp", "n")

    def __init__(self, grp=0):
        (
            self.ids,
            self.pos,
            self.blk,
            self.order,
            self.upos,
            self.ublk,
            self.tgt,
            self.tea,
            self.at,
            self.grp,
        ) = [], [], [], [], [], [], [], [], 0, grp

    def text(self, ids, blk=0):
        n = len(ids)
        pos = range(self.at, self.at + n)
        self.order += range(len(self.ids), len(self.ids) + n)
        self.ids += list(ids)
        self.pos += pos
        self.blk += [blk] * n
        self.upos += pos
        self.ublk += [blk] * n
        self.tgt += [-100] * n
        self.at += n

    def memory(self, slot, m, r):
        """slot: first row in the table; m tokens at rate r."""
        self.order += [-(slot + j) - 1 for j in range(m)]
        self.upos += [self.at + r * (j + 1) - 1 for j in range(m)]
        self.ublk += [0] * m
        self.tgt += [-100] * m
        self.at += r * m

    def block(self, b, prompt, answer, tea=None):
        """A question block of its own; every answer token is predicted by the position before it."""
        at = self.at
        self.text(list(prompt) + list(answer[:-1]), b)
        self.at = at
        n = len(answer)
        self.tgt[len(self.tgt) - n :] = [int(x) for x in answer]
        self.tea += [-1] * n if tea is None else list(tea)

    def doc_text(self, ids):
        self.text(HEAD)
        self.text(ids)
        self.text(PROMPTS["sep"])

    def doc_memory(self, slot, m, r):
        self.text(HEAD)
        self.memory(slot, m, r)
        self.text(PROMPTS["sep"])


def collate(rows):
    def pad(name, value):
        w = -(-max(len(getattr(r, name)) for r in rows) // 32) * 32
        out = np.full((len(rows), w), value, np.int64)
        for i, r in enumerate(rows):
            out[i, : len(getattr(r, name))] = getattr(r, name)
        return torch.from_numpy(out)

    tgt = pad("tgt", -100).flatten()
    at = (tgt != -100).nonzero()[:, 0]
    return dict(
        at=at,
        y=tgt[at],
        mem=any(o < 0 for r in rows for o in r.order),
        count=sum(len(r.order) for r in rows),
        ids=pad("ids", 0),
        pos=pad("pos", 0),
        blk=pad("blk", -1),
        order=pad("order", 0),
        upos=pad("upos", 0),
        ublk=pad("ublk", -1),
        tgt=pad("tgt", -100),
        tea=torch.tensor([x for r in rows for x in r.tea], dtype=torch.long),
        grp=torch.tensor([r.grp for r in rows for x in r.tea], dtype=torch.long),
    )


def pad_texts(texts, to=32):
    w = -(-max(len(t) for t in texts) // to) * to
    out = np.zeros((len(texts), w), np.int64)
    for i, t in enumerate(texts):
        out[i, : len(t)] = t
    return torch.from_numpy(out), torch.tensor([len(t) for t in texts])


def mem(n, r):
    return -(-n // r)


def titled(p, t, rng):
    return np.concatenate([t, p]) if len(t) and rng.random() < 0.6 else p


def rates(rng, phase):
    if phase < 0.05:
        return (rng.choice((2, 4)),)
    if phase < 0.15:
        return (rng.choice((2, 4)), rng.choice((4, 8, 16)))
    return (rng.choice((2, 4, 4, 8)), rng.choice((8, 16, 16, 16, 32)))


def batch_rc(rng, phase, N):
    passages = []
    while len(passages) < N:
        s = rng.choices(range(7), (0.72, 0.11, 0.09, 0.03, 0.02, 0.01, 0.02))[0]
        g = rng.choice(rc_sets[s]) if s else rng.choice(rc_big)
        g = [i for i in g if rc_questions.get(i)]
        k = rng.randrange(max(1, len(g) - 3)) if len(g) > 4 else 0
        passages += [(i, s) for i in (g[k : k + 4] if rng.random() < 0.7 else rng.sample(g, min(4, len(g))))]
    passages = passages[:N]
    ids = [titled(rc_p(i), rc_t(i), rng) for i, _ in passages]
    art = [int(d["rc_art"][i]) for i, _ in passages]
    rr = rates(rng, phase)
    r2 = rr[-1]
    width = -(-max(len(t) for t in ids) // 32) * 32
    offset = [0, N * mem(width, rr[0])]
    slot = lambda n, k: offset[k] + n * mem(width, rr[k])
    last = len(rr) - 1
    at = 0
    text_rows, short, five_rows, flat_q = [], [], [], []
    for n, (i, s) in enumerate(passages):
        blocks = []
        for q in rng.sample(rc_questions[i], min(4, len(rc_questions[i]))):
            ans = np.append(rc_a(q), EOS)
            blocks.append((rc_q(q), ans, range(at, at + len(ans))))
            flat_q.append((n, q, at, at + len(ans)))
            at += len(ans)
        if rng.random() < 0.35:  # a question of another passage: no answer here
            other = rng.choice([m for m in range(N) if passages[m][0] != i])
            near = [
                m for m in range(max(0, n - 3), min(N, n + 4)) if passages[m][0] != i and art[m] == art[n]
            ]
            if near and rng.random() < 0.7:
                other = rng.choice(near)
            blocks.append(
                (rc_q(rng.choice(rc_questions[passages[other][0]])), np.array([NONE]), range(at, at + 1))
            )
            at += 1
        row = Row(0)
        row.doc_text(ids[n])
        for b, (q, x, t) in enumerate(blocks):
            row.block(b + 1, q, x, t)
        text_rows.append(row)
        for k, r in enumerate(rr):
            row = Row(k)
            row.doc_memory(slot(n, k), mem(len(ids[n]), r), r)
            for b, (q, x, t) in enumerate(blocks):
                row.block(b + 1, q, x, t)
            short.append(row)

    def five(n, with_gold):
        near = [m for m in range(N) if m != n and art[m] == art[n] and passages[m][0] != passages[n][0]]
        far = [m for m in range(N) if art[m] != art[n]]
        rng.shuffle(near)
        c = near[: rng.randrange(5)]
        c += rng.sample(far, min(len(far), 5 - len(c)))
        c = c[:5]
        if with_gold:
            c[rng.randrange(len(c))] = n
        return c

    r2 = rr[last]
    for n, q, s, e in rng.sample(flat_q, min(len(flat_q), N)):
        w = rng.random() > 0.15
        row = Row(2)
        for m in five(n, w):
            row.doc_memory(slot(m, last), mem(len(ids[m]), r2), r2)
        row.block(1, rc_q(q), np.append(rc_a(q), EOS) if w else np.array([NONE]), range(s, e) if w else None)
        short.append(row)
    for n, q, s, e in rng.sample(flat_q, min(len(flat_q), N // 3)):
        w = rng.random() > 0.15
        c = five(n, w)
        if w and rng.random() < 0.75:
            c.remove(n)
            c.insert(0, n)
        row = Row(1)
        row.doc_text(ids[c[0]])
        for m in c[1:]:
            row.doc_memory(slot(m, last), mem(len(ids[m]), r2), r2)
        row.block(1, rc_q(q), np.append(rc_a(q), EOS) if w else np.array([NONE]), range(s, e) if w else None)
        text_rows.append(row)
    if rng.random() < 0.35:
        for n, q, s, e in rng.sample(flat_q, min(len(flat_q), max(2, N // 6))):
            w = rng.random() > 0.15
            row = Row(0)
            for m in five(n, w):
                row.doc_text(ids[m])
            row.block(
                1, rc_q(q), np.append(rc_a(q), EOS) if w else np.array([NONE]), range(s, e) if w else None
            )
            five_rows.append(row)
    qs = rng.sample(flat_q, min(len(flat_q), 2 * N))
    qi, ql = pad_texts([rc_q(q)[:-3] for _, q, _, _ in qs], 8)
    return dict(
        kind="rc",
        rates=rr,
        passages=pad_texts(ids),
        text=collate(text_rows),
        short=collate(short),
        five=collate(five_rows) if five_rows else None,
        queries=(qi, ql, torch.tensor([n for n, *_ in qs])),
        keys=torch.tensor([i for i, _ in passages]),
    )


def batch_wiki(rng, phase, N):
    passages = []
    while len(passages) < N:
        g = rng.choice(w_groups)
        k = rng.randrange(max(1, len(g) - 3))
        passages += g[k : k + 4]
    passages = passages[:N]
    ids = [titled(w_p(i), w_t(i), rng) for i in passages]
    skip = [len(t) - len(w_p(i)) for t, i in zip(ids, passages)]
    n_pp = N // 4
    pairs = [rng.randrange(len(d["pp_s_o"]) - 1) for _ in range(n_pp)]
    rr = rates(rng, phase)
    ids_all = ids + [pp_s(i) for i in pairs]
    width = -(-max(len(t) for t in ids_all) // 32) * 32
    offset = [0, len(ids_all) * mem(width, rr[0])]
    mem_rows = [[] for _ in rr]
    for n, i in enumerate(passages):
        p = w_p(i)
        blocks = []
        for c in rng.sample(w_cloze[i], min(4, len(w_cloze[i]))) if i in w_cloze else ():
            s, a0, a1, e = (int(x) for x in d["w_cs"][c])
            blocks.append(
                (
                    np.concatenate([PROMPTS["cloze"], p[s:a0], PROMPTS["blank"], p[a1:e], PROMPTS["answer"]]),
                    np.append(p[a0:a1], EOS),
                )
            )
        if len(p) > 32:
            s = rng.randrange(6, len(p) - 20)
            blocks.append(
                (
                    np.concatenate([PROMPTS["quote"], p[s - 6 : s], PROMPTS["answer"]]),
                    p[s : s + rng.randrange(8, 24)],
                )
            )
        if rng.random() < 0.15:
            blocks.append((np.array(PROMPTS["repeat"]), p[:96] if len(p) > 96 else np.append(p, EOS)))
        if (
            n + 1 < N
            and passages[n + 1] == i + 1
            and d["w_art"][i] == d["w_art"][i + 1]
            and rng.random() < 0.25
        ):
            blocks.append((np.array(PROMPTS["continue"]), w_p(i + 1)[:40]))
        for k, r in enumerate(rr):
            row = Row(k)
            row.doc_memory(offset[k] + n * mem(width, r), mem(len(ids[n]), r), r)
            for b, (q, x) in enumerate(blocks):
                row.block(b + 1, q, x)
            mem_rows[k].append(row)
    for j, i in enumerate(pairs):
        for k, r in enumerate(rr):
            row = Row(k)
            row.doc_memory(offset[k] + (N + j) * mem(width, r), mem(len(pp_s(i)), r), r)
            row.block(1, np.array(PROMPTS["paraphrase"]), np.append(pp_t(i), EOS))
            mem_rows[k].append(row)
    return dict(
        kind="wiki",
        rates=rr,
        passages=pad_texts(ids_all),
        short=collate([r for rows in mem_rows for r in rows if r.tea]),
    )


rc_big = [g for g in rc_sets[0] for _ in range(max(1, len(g) // 8))]


class Stream(torch.utils.data.IterableDataset):
    def __init__(self, seed, phase, size):
        self.seed, self.phase, self.size = seed, phase, size

    def __iter__(self):
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        k = info.id if info else 0
        rng = random.Random(self.seed * 1000 + k)
        np.random.seed(k)
        n = k
        while True:
            yield (batch_wiki if n % 3 == 2 else batch_rc)(rng, self.phase.value, self.size.value)
            n += 1


# ---------------------------------------------------------------- model
from transformers import AutoModelForCausalLM, AutoTokenizer, AutoConfig

if a.random_base:
    cfg = AutoConfig.for_model(
        "llama",
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        vocab_size=49152,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
    )
    base = AutoModelForCausalLM.from_config(cfg, dtype=torch.bfloat16)

    class T:
        def __call__(s, t, add_special_tokens=False):
            return {"input_ids": [hash(w) % 49000 for w in t.split()] or [198]}

        def decode(s, ids):
            return str(ids)

    tok = T()
elif a.gguf:
    import gguf

    base = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(a.base), dtype=torch.bfloat16)
    tok = AutoTokenizer.from_pretrained(a.base)
    state = {}
    c = base.config
    names = dict(
        attn_q="self_attn.q_proj",
        attn_k="self_attn.k_proj",
        attn_v="self_attn.v_proj",
        attn_output="self_attn.o_proj",
        ffn_gate="mlp.gate_proj",
        ffn_up="mlp.up_proj",
        ffn_down="mlp.down_proj",
        attn_norm="input_layernorm",
        ffn_norm="post_attention_layernorm",
    )
    for t in gguf.GGUFReader(a.gguf).tensors:
        w = torch.from_numpy(np.array(gguf.dequantize(t.data, t.tensor_type), dtype=np.float32))
        p = t.name.split(".")
        if p[0] == "blk":
            if p[2] in ("attn_q", "attn_k"):  # llama.cpp stores rotary halves interleaved
                h = c.num_attention_heads if p[2] == "attn_q" else c.num_key_value_heads
                w = w.reshape(h, w.shape[0] // h // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
            state[f"model.layers.{p[1]}.{names[p[2]]}.weight"] = w
        else:
            state[{"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}[p[0]]] = w
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    base.load_state_dict(state)
    base.tie_weights()
else:
    base = AutoModelForCausalLM.from_pretrained(a.base, dtype=torch.bfloat16)
    tok = AutoTokenizer.from_pretrained(a.base)
set_prompts(tok)
if os.environ.get("CHECK") == "1":
    o = AutoModelForCausalLM.from_pretrained(a.base, dtype=torch.bfloat16)
    o = o.state_dict()
    print(max((o[k].float() - v.float()).abs().max().item() for k, v in base.state_dict().items()), len(o))
    sys.exit()
base.requires_grad_(False).to(dev)
body = base.model
H = base.config.hidden_size
L = len(body.layers)
cfg_ = base.config
embed = body.embed_tokens
EPS = cfg_.rms_norm_eps
NH, NK = cfg_.num_attention_heads, cfg_.num_key_value_heads
HD = H // NH
PROJ = dict(
    q="self_attn.q_proj",
    k="self_attn.k_proj",
    v="self_attn.v_proj",
    o="self_attn.o_proj",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    down="mlp.down_proj",
)
STACK = {
    n: torch.stack([layer.get_submodule(p).weight.float() for layer in body.layers]) for n, p in PROJ.items()
}
ROLES = {"generator": L, "compressor": a.layer, "query": a.layer}
CACHE = {}  # merged weights of this step
inv = 1.0 / (cfg_.rope_parameters["rope_theta"] ** (torch.arange(0, HD, 2, device=dev).float() / HD))
ANG = torch.arange(4096, device=dev).float()[:, None] * inv
COS, SIN = (torch.cat([f(ANG), f(ANG)], -1).to(torch.bfloat16) for f in (torch.cos, torch.sin))


class Lora(nn.Module):
    """Low-rank additions of a role to the first `depth` layers, stacked over layers."""

    def __init__(self, depth):
        super().__init__()
        self.depth = depth
        self.A, self.B = nn.ParameterDict(), nn.ParameterDict()
        for n, w in STACK.items():
            A = torch.empty(depth, a.rank, w.shape[2]).uniform_(-1, 1) / w.shape[2] ** 0.5
            self.A[n] = nn.Parameter(A)
            self.B[n] = nn.Parameter(torch.zeros(depth, w.shape[1], a.rank))

    def merged(self):
        w = {
            n: torch.baddbmm(STACK[n][: self.depth], self.B[n], self.A[n], alpha=2.0).to(torch.bfloat16)
            for n in STACK
        }
        qkv = torch.cat([w["q"], w["k"], w["v"]], 1)
        gu = torch.cat([w["gate"], w["up"]], 1)
        return list(zip(qkv.unbind(0), w["o"].unbind(0), gu.unbind(0), w["down"].unbind(0)))


import contextlib

attend = contextlib.nullcontext
if cuda:
    from torch.nn.attention import SDPBackend, sdpa_kernel

    took = {}
    for name, make in (
        ("default", contextlib.nullcontext),
        ("efficient", lambda: sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION])),
        ("cudnn", lambda: sdpa_kernel([SDPBackend.CUDNN_ATTENTION])),
        ("math", lambda: sdpa_kernel([SDPBackend.MATH])),
    ):
        try:
            for n in range(7):
                T = (224, 256, 288, 320, 352, 384, 416)[n]
                if n == 1:
                    torch.cuda.synchronize()
                    t_ = time.time()
                q, k, v = (
                    torch.randn(64, T, 9, 64, device=dev, dtype=torch.bfloat16, requires_grad=True)
                    for _ in range(3)
                )
                m_ = torch.zeros(64, 1, T, T, device=dev, dtype=torch.bfloat16)
                with make():
                    F.scaled_dot_product_attention(
                        q.transpose(1, 2),
                        k.transpose(1, 2),
                        v.transpose(1, 2),
                        attn_mask=m_.expand(-1, 9, -1, -1),
                    ).float().sum().backward()
            torch.cuda.synchronize()
            took[name] = time.time() - t_
        except Exception as e:
            log("attention", name, str(e)[:150])
    log("attention", {k: round(v, 4) for k, v in took.items()})
    if took.get("efficient", 9) < 1.3 * min(took.values()):
        attend = lambda: sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION])
    elif min(took, key=took.get) == "cudnn":
        attend = lambda: sdpa_kernel([SDPBackend.CUDNN_ATTENTION])
LORA = {}


def build(take):
    ROLES["compressor"] = take
    CACHE.clear()
    LORA.clear()
    for n, l in ROLES.items():
        LORA[n] = Lora(l).to(dev)


def run(states, pos, mask, first, last, role):
    """Layers first..last under a role; mask (B, T, T) bool, True where attention may look."""
    if role not in CACHE:
        CACHE[role] = LORA[role].merged()
    W = CACHE[role]
    x = states.to(torch.bfloat16)
    B, T, _ = x.shape
    cos, sin = COS[pos][:, :, None], SIN[pos][:, :, None]
    w8 = -(-T // 8) * 8
    bias = torch.zeros(B, 1, T, w8, dtype=torch.bfloat16, device=dev)[..., :T]
    bias.masked_fill_(~mask[:, None], -1e9)
    for i in range(first, last):
        qkv, o, gu, down = W[i]
        layer = body.layers[i]
        h = F.rms_norm(x, (H,), layer.input_layernorm.weight, EPS)
        y = F.linear(h, qkv).view(B, T, NH + 2 * NK, HD)
        qk = y[:, :, : NH + NK]
        half = torch.cat([-qk[..., HD // 2 :], qk[..., : HD // 2]], -1)
        qk = torch.addcmul(qk * cos, half, sin)
        q, k = qk[:, :, :NH].transpose(1, 2), qk[:, :, NH:].transpose(1, 2).repeat_interleave(NH // NK, 1)
        v = y[:, :, NH + NK :].transpose(1, 2).repeat_interleave(NH // NK, 1)
        with attend():
            att = (
                F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(B, NH, T, T))
                .transpose(1, 2)
                .reshape(B, T, H)
            )
        x = x + F.linear(att, o)
        h = F.linear(F.rms_norm(x, (H,), layer.post_attention_layernorm.weight, EPS), gu)
        g, u = h.chunk(2, -1)
        x = x + F.linear(F.silu(g) * u, down)
    return x


class Memory(nn.Module):
    def __init__(self):
        super().__init__()
        self.residual = nn.Linear(H, H, bias=False)
        nn.init.zeros_(self.residual.weight)
        self.slot = nn.Parameter(embed.weight.float().mean(0).clone())
        self.doc = nn.Linear(H, 256, bias=False)
        self.ask = nn.Linear(H, 256, bias=False)
        nn.init.orthogonal_(self.doc.weight)
        self.ask.weight.data.copy_(self.doc.weight.data)


class Clara:
    def __init__(self, variant):
        self.how, self.see = variant.split("-")[:2]
        self.input = variant.endswith("input")
        self.take, self.enter = (L, 0) if self.input else (a.layer, a.layer)
        build(self.take)
        self.memory = Memory().to(dev)

    def trained(self):
        return {f"{r}.{n}": p for r, l in LORA.items() for n, p in l.named_parameters()} | {
            "memory." + n: p for n, p in self.memory.named_parameters()
        }

    def compress(self, ids, lengths, rates):
        """{rate: (N, M, H)} memories of padded passages."""
        N, P = ids.shape
        h = len(HEAD)
        head = torch.tensor(HEAD, device=dev).expand(N, -1)
        x = embed(torch.cat([head, ids], 1))
        here = torch.arange(P, device=dev) < lengths[:, None]
        pos = torch.arange(h + P, device=dev).expand(N, -1)
        out = {}
        if self.how == "pooled":
            valid = torch.cat([torch.ones_like(head, dtype=torch.bool), here], 1)
            mask = valid[:, None, :].expand(N, h + P, h + P)
            if self.see != "both":
                mask = mask & (pos[:, :, None] >= pos[:, None, :])
            s = run(x, pos, mask, 0, self.take, "compressor")[:, h:]
            for r in rates:
                w = -P % r
                y = F.pad(s, (0, 0, 0, w)).unflatten(1, (-1, r)).float()
                k = F.pad(here, (0, w)).unflatten(1, (-1, r)).float()
                n = k.sum(-1).clamp(min=1)
                mean = torch.einsum("nmrh,nmr->nmh", y, k) / n[..., None]
                norm = (y.norm(dim=-1) * k).sum(-1) / n
                u = F.normalize(mean, dim=-1)
                if self.input:
                    e = F.pad(embed(ids), (0, 0, 0, w)).unflatten(1, (-1, r)).float()
                    skip = torch.einsum("nmrh,nmr->nmh", e, k) / n[..., None]
                else:
                    skip = u * norm[..., None]
                out[r] = skip + self.memory.residual(u * H**0.5)
            return out
        for r in rates:  # appended: one learned token, at the position where its part of the text ends
            M = -(-P // r)
            count = -(-lengths // r)
            slots = self.memory.slot.to(x.dtype).expand(N, M, H)
            present = torch.cat(
                [torch.ones_like(head, dtype=torch.bool), here, torch.arange(M, device=dev) < count[:, None]],
                1,
            )
            p = torch.cat([pos, (h - 1 + r * torch.arange(1, M + 1, device=dev)).expand(N, -1)], 1)
            T = h + P + M
            i = torch.arange(T, device=dev)
            mask = present[:, None, :].expand(N, T, T)
            if self.see != "both":
                mask = mask & (i[:, None] >= i[None])
            s = run(torch.cat([x, slots], 1), p, mask, 0, self.take, "compressor")[:, h + P :].float()
            out[r] = (0 if self.input else s) + self.memory.residual(F.normalize(s, dim=-1) * H**0.5)
            if self.input:
                out[r] = out[r] + self.memory.slot
        return out

    def read(self, b, table):
        """Final states at the targets of prompts; table (K, H) holds the memories."""
        sees = lambda blk: (
            ((blk[:, None, :] == 0) | (blk[:, None, :] == blk[:, :, None]))
            & torch.ones(blk.shape[1], blk.shape[1], dtype=torch.bool, device=dev).tril()
            & (blk[:, None, :] >= 0)
            | torch.eye(blk.shape[1], dtype=torch.bool, device=dev)
        )
        x = embed(b["ids"])
        if self.enter:
            x = run(x, b["pos"], sees(b["blk"]), 0, self.enter, "generator")
        o = b["order"]
        tokens = x.gather(1, o.clamp(min=0)[..., None].expand(-1, -1, H))
        if b["mem"]:
            tokens = torch.where((o < 0)[..., None], table.to(x.dtype)[(-o - 1).clamp(min=0)], tokens)
        s = run(tokens, b["upos"], sees(b["ublk"]), self.enter, L, "generator")
        return body.norm(s.flatten(0, 1)[b["at"]])

    def query(self, ids, lengths):
        h = PROMPTS["ask"]
        N, T = ids.shape
        pos = torch.arange(T, device=dev).expand(N, -1)  # ids begin with "Question:"
        mask = pos[:, None, :] <= pos[:, :, None]
        s = run(embed(ids), pos, mask, 0, a.layer, "query").float()
        here = ((pos < lengths[:, None]) & (pos >= len(h))).float()
        t = F.normalize(self.memory.ask(F.normalize(s, dim=-1) * 1.0), dim=-1)
        mean = (F.normalize(s, dim=-1) * here[..., None]).sum(1) / here.sum(1, keepdim=True)
        return F.normalize(self.memory.ask(mean), dim=-1), t, here

    def keys(self, memories, lengths, r):
        m = memories.float()
        here = (torch.arange(m.shape[1], device=dev) < (-(-lengths // r))[:, None]).float()
        u = F.normalize(m, dim=-1)
        t = F.normalize(self.memory.doc(u), dim=-1)
        mean = (u * here[..., None]).sum(1) / here.sum(1, keepdim=True)
        return F.normalize(self.memory.doc(mean), dim=-1), t, here


def late(qt, qh, dt, dh):
    """(Q, N) mean over question tokens of the best cosine with a memory token."""
    s = torch.einsum("qth,nmh->qtnm", qt, dt).masked_fill(dh[None, None] == 0, -1)
    return (s.amax(-1) * qh[..., None]).sum(1) / qh.sum(1)[:, None]


def to(x):
    if isinstance(x, torch.Tensor):
        return x.to(dev, non_blocking=True)
    if isinstance(x, dict):
        return {k: to(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(to(v) for v in x)
    return x


def ce(logits, t):
    return F.cross_entropy(logits.float(), t)


WAIT = [0.0]
QUEUE = {"v": None, "id": None}


def loss_of(model, b, stats):
    CACHE.clear()
    b = to(b)
    ids, lengths = b["passages"]
    rr = b["rates"]
    memories = model.compress(ids, lengths, sorted(set(rr)))
    table = torch.cat([memories[r].flatten(0, 1) for r in rr])
    total = 0

    def parts(g, names, weights, teacher):
        """Weighted mean losses of a prompt batch by group."""
        t = g["y"]
        logits = base.lm_head(model.read(g, table))
        lp = logits.float().log_softmax(-1)
        each = -lp.gather(1, t[:, None])[:, 0]
        out = 0
        kl = None
        if teacher is not None:
            has = g["tea"] >= 0
            tp = teacher[g["tea"].clamp(min=0)]
            kl = (tp.exp() * (tp - lp)).sum(-1) * has
        for i, (name, w) in enumerate(zip(names, weights)):
            of = (g["grp"] == i).float()
            n = of.sum().clamp(min=1)
            c = (each * of).sum() / n
            stats[name].append(c.detach())
            if kl is not None:
                k_ = (kl * of).sum() / n
                stats["kl" + name].append(k_.detach())
                c = 0.5 * c + 0.7 * k_
            out = out + w * c
        return out, lp

    if b["kind"] == "rc":
        l, lp = parts(b["text"], ("text", "mixed"), (1.0, 0.4), None)
        total = total + l
        teacher = lp.detach()
        l, _ = parts(
            b["short"],
            tuple(f"rc{r}" for r in rr) + (("many",) if len(rr) == 2 else ("-", "many")),
            ((0.7, 1.0, 0.7) if len(rr) == 2 else (1.0, 0.0, 0.7)),
            teacher,
        )
        total = total + l
        if b["five"] is not None:
            l, _ = parts(b["five"], ("texts",), (0.4,), teacher)
            total = total + l
    else:
        l, _ = parts(b["short"], tuple(f"wiki{r}" for r in rr), (0.7, 1.0)[-len(rr) :], None)
        total = total + l
    if b["kind"] == "rc":
        r = rr[-1]
        q, ql, owner = b["queries"]
        qm, qt, qh = model.query(q, ql)
        dm, dt, dh = model.keys(memories[r], lengths, r)
        same = b["keys"][owner][:, None] == b["keys"][None]
        same[torch.arange(len(owner)), owner] = False
        docs, mask = dm, same
        if QUEUE["v"] is not None:
            docs = torch.cat([dm, QUEUE["v"]])
            mask = torch.cat([same, b["keys"][owner][:, None] == QUEUE["id"][None]], 1)
        l1 = ce(((qm @ docs.T) / 0.05).masked_fill(mask, -1e4), owner)
        l2 = ce((late(qt, qh, dt, dh) / 0.03).masked_fill(same, -1e4), owner)
        QUEUE["v"] = dm.detach() if QUEUE["v"] is None else torch.cat([dm.detach(), QUEUE["v"]])[:2048]
        QUEUE["id"] = b["keys"] if QUEUE["id"] is None else torch.cat([b["keys"], QUEUE["id"]])[:2048]
        stats["find"].append(l1.detach())
        stats["late"].append(l2.detach())
        total = total + 0.12 * l1 + 0.12 * l2
    return total


# ---------------------------------------------------------------- evaluation
def words(t):
    return re.sub(
        r"\b(a|an|the)\b", " ", "".join(c for c in t.lower() if c not in string.punctuation)
    ).split()


def f1(given, golds):
    best = 0.0
    g = words(given)
    for x in golds:
        w = words(x)
        same = sum((collections.Counter(g) & collections.Counter(w)).values())
        best = max(best, 2 * same / (len(g) + len(w)) if same else 0.0)
    return best


def dev_doc(i):
    return np.concatenate([d_t(i), d_p(i)])[:400]


@torch.no_grad()
def dev_memories(model, which, r):
    out = {}
    order = sorted(which, key=lambda i: len(dev_doc(i)))
    for s in range(0, len(order), 128 if cuda else 16):
        part = order[s : s + (128 if cuda else 16)]
        ids, n = pad_texts([dev_doc(i) for i in part])
        with torch.autocast(dev.type, enabled=False):
            m = model.compress(ids.to(dev), n.to(dev), [r])[r]
        for i, v in zip(part, m):
            out[i] = v[: mem(len(dev_doc(i)), r)]
    return out


@torch.no_grad()
def answers(model, prompts, memories, r, steps=14):
    """Greedy answers. prompts: list of (list of ('t'|'m', passage), question number)."""
    out = []
    for s in range(0, len(prompts), 100 if cuda else 20):
        part = prompts[s : s + (100 if cuda else 20)]
        got = [[] for _ in part]
        live = set(range(len(part)))
        used = sorted({i for docs, _ in part for k, i in docs if k == "m"})
        place, rows, at = {}, [], 0
        for i in used:
            place[i] = at
            at += len(memories[i])
            rows.append(memories[i])
        table = torch.cat(rows) if rows else None
        for step in range(steps):
            rws = []
            todo = sorted(live)
            for j in todo:
                row = Row()
                for k, i in part[j][0]:
                    row.doc_text(dev_doc(i)) if k == "t" else row.doc_memory(place[i], len(memories[i]), r)
                row.block(1, d_q(part[j][1]), np.array(got[j] + [EOS]))
                row.tgt[:] = [-100] * (len(row.tgt) - 1) + [1]
                rws.append(row)
            b = to(collate(rws))
            logits = base.lm_head(model.read(b, table)).float()
            if step == 0:
                logits[:, [NONE, EOS]] = -1e9
            for j, x in zip(todo, logits.argmax(-1).tolist()):
                if x in (EOS, NONE):
                    live.discard(j)
                else:
                    got[j].append(x)
            if not live:
                break
        out += [tok.decode(g) for g in got]
    return out


@torch.no_grad()
def dev_loss(model, rs=(4, 16), n=256):
    """Loss on answers: text, memories right and wrong."""
    CACHE.clear()
    out = {}
    q = list(range(n))
    pas = [int(d["d_qp"][i]) for i in q]
    ans = [np.append(tok(" " + gold[i][0], add_special_tokens=False)["input_ids"], EOS) for i in q]
    for name in ["text"] + [f"{k}{r}" for r in rs for k in ("right", "wrong")]:
        tot = cnt = 0
        r = None if name == "text" else int(name[5:])
        mm = dev_memories(model, set(pas), r) if r else {}
        for s in range(0, n, 64):
            rows, tab, at = [], [], 0
            for i in q[s : s + 64]:
                p = pas[i] if not name.startswith("wrong") else pas[(i + 7) % n]
                row = Row()
                if r:
                    row.doc_memory(at, len(mm[p]), r)
                    tab.append(mm[p])
                    at += len(mm[p])
                else:
                    row.doc_text(dev_doc(p))
                row.block(1, d_q(i), ans[i])
                rows.append(row)
            b = to(collate(rows))
            t = b["y"]
            tot += F.cross_entropy(
                base.lm_head(model.read(b, torch.cat(tab) if tab else None)).float(), t, reduction="sum"
            ).item()
            cnt += len(t)
        out[name] = round(tot / cnt, 3)
    return out


@torch.no_grad()
def search(model, r, n):
    D = len(d["d_p_o"]) - 1
    mm = dev_memories(model, range(D), r)
    L_ = torch.tensor([len(dev_doc(i)) for i in range(D)], device=dev)
    M = max(len(v) for v in mm.values())
    pad = torch.stack([F.pad(mm[i], (0, 0, 0, M - len(mm[i]))) for i in range(D)])
    dm, dt, dh = model.keys(pad, L_, r)
    one = {k: 0 for k in (1, 5, 20)}
    two = {k: 0 for k in (1, 5, 20)}
    both = {k: 0 for k in (1, 5, 20)}
    best = {}
    for s in range(0, n, 50):
        ids, ln = pad_texts([d_q(i)[:-3] for i in range(s, min(n, s + 50))])
        qm, qt, qh = model.query(ids.to(dev), ln.to(dev))
        s1 = qm @ dm.T
        s2 = late(qt, qh, dt, dh)
        tgt = torch.tensor(d["d_qp"][s : min(n, s + 50)], device=dev).long()
        for sc, c in ((s1, one), (s2, two), (s1 * 0.3 + s2, both)):
            rank = (sc > sc.gather(1, tgt[:, None])).sum(1)
            for k in c:
                c[k] += int((rank < k).sum())
        for i, row in enumerate((s1 * 0.3 + s2).topk(5).indices.tolist()):
            best[s + i] = row
    return {
        "mean": {k: round(100 * v / n, 1) for k, v in one.items()},
        "late": {k: round(100 * v / n, 1) for k, v in two.items()},
        "both": {k: round(100 * v / n, 1) for k, v in both.items()},
    }, best


def evaluate(model, n, brief=False):
    base.eval()
    CACHE.clear()
    res = {}
    n = min(n, len(gold))
    pas = [int(d["d_qp"][i]) for i in range(n)]
    score = lambda prompts, mm, r: round(
        100
        * sum(f1(x, gold[q]) for x, (_, q) in zip(answers(model, prompts, mm, r), prompts))
        / len(prompts),
        1,
    )

    class Log(dict):
        def __setitem__(self, k, v):
            dict.__setitem__(self, k, v)
            log("eval", k, v)
            json.dump(self, open(f"{a.out}/eval.json", "w"))

    res = Log()
    res["text"] = score([([("t", pas[i])], i) for i in range(n)], {}, 1)
    for r in (4, 16) if brief else (2, 4, 8, 16, 32):
        mm = dev_memories(model, set(pas), r)
        res[f"memory{r}"] = score([([("m", pas[i])], i) for i in range(n)], mm, r)
    res["wrong16"] = score(
        [([("m", pas[(i + 7) % n])], i) for i in range(n)], dev_memories(model, set(pas), 16), 16
    )
    if brief:
        return res
    res["search4"], _ = search(model, 4, 1000 if cuda else n)
    res["search16"], best = search(model, 16, max(1000 if cuda else n, n))
    mm = dev_memories(model, {x for i in range(n) for x in best[i]}, 16)
    res["five16"] = score([([("m", x) for x in best[i]], i) for i in range(n)], mm, 16)
    res["one+four16"] = score(
        [([("t" if k == 0 else "m", x) for k, x in enumerate(best[i])], i) for i in range(n)], mm, 16
    )
    res["fivetext"] = score([([("t", x) for x in best[i]], i) for i in range(n)], {}, 1)
    return res


# ---------------------------------------------------------------- training
def save(model, name):
    from safetensors.torch import save_file

    parts, size, k = {}, 0, 0
    for n, p in model.trained().items():
        t = p.detach().to(torch.bfloat16).cpu().contiguous()
        if size + t.numel() * 2 > 15_000_000:
            save_file(parts, f"{a.out}/{name}.{k}.tmp")
            os.replace(f"{a.out}/{name}.{k}.tmp", f"{a.out}/{name}.{k}.safetensors")
            parts, size, k = {}, 0, k + 1
        parts[n] = t
        size += t.numel() * 2
    save_file(parts, f"{a.out}/{name}.{k}.tmp")
    os.replace(f"{a.out}/{name}.{k}.tmp", f"{a.out}/{name}.{k}.safetensors")


import multiprocessing as mp


def train(variant, seconds, name, resume=None, keep=True, seed=0, start=0.0):
    QUEUE["v"] = QUEUE["id"] = None
    torch.manual_seed(seed)
    model = Clara(variant)
    params = model.trained()
    if resume:
        from safetensors.torch import load_file
        import glob

        got = {}
        for f in sorted(glob.glob(resume + ".*.safetensors")):
            got |= load_file(f)
        for n, p in params.items():
            p.data.copy_(got[n].float())
    for p in params.values():
        p.requires_grad_(True)
    opt = torch.optim.AdamW(params.values(), lr=a.lr, betas=(0.9, 0.98), weight_decay=0.0, fused=cuda)
    phase = mp.Value("d", start)
    size = mp.Value("i", a.passages)
    stream = iter(
        torch.utils.data.DataLoader(
            Stream(seed, phase, size),
            batch_size=None,
            num_workers=a.workers,
            prefetch_factor=4 if a.workers else None,
            pin_memory=cuda,
        )
    )
    log(variant, "parameters", sum(p.numel() for p in params.values()))
    t0 = None
    step = tokens = 0
    stats = collections.defaultdict(list)
    last = time.time()
    rows = 0
    saved = time.time()
    prof = None
    while True:
        if os.environ.get("PROF") and step == 4:
            prof = torch.profiler.profile(
                activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
            )
            torch.cuda.synchronize()
            tp = time.time()
            prof.__enter__()
        if prof and step == 6:
            prof.__exit__(None, None, None)
            torch.cuda.synchronize()
            print("2 steps", time.time() - tp)
            print(
                prof.key_averages().table(
                    sort_by="self_cuda_time_total", row_limit=16, max_name_column_width=50, header="x"
                )[:6000]
            )
            os._exit(0)
        if step == 3:
            if cuda:
                torch.cuda.synchronize()
            t0 = time.time()
            tokens = rows = 0
        share = 0.0 if t0 is None else (time.time() - t0) / seconds
        if share >= 1:
            break
        phase.value = start + share * (1 - start)
        lr = (
            a.lr
            * min(1, (step + 1) / (40 if keep else 12))
            * (0.04 + 0.96 * 0.5 * (1 + math.cos(math.pi * min(1, share))))
        )
        for g in opt.param_groups:
            g["lr"] = lr
        for _ in range(a.micro):
            tn = time.time()
            b = next(stream)
            WAIT[0] += time.time() - tn
            try:
                loss = loss_of(model, b, stats)
                (loss / a.micro).backward()
                del loss
            except torch.OutOfMemoryError:
                size.value = int(size.value * 0.8)
                log("out of memory; passages now", size.value)
                CACHE.clear()
                torch.cuda.empty_cache()
                continue
            tokens += sum(
                g["count"] for g in (b.get("text"), b["short"], b.get("five")) if g is not None
            ) + int(b["passages"][1].sum())
            rows += len(b["passages"][1])
        norm = torch.nn.utils.clip_grad_norm_(params.values(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        step += 1
        if time.time() - last > (10 if cuda else 30) or (os.environ.get("PROF") and step > 2):
            last = time.time()
            el = max(1e-3, last - (t0 or last))
            log(
                f"step {step} {100 * share:.0f}% lr {lr:.1e} norm {float(norm):.2f} passages {rows} {rows / el:.0f}/s tokens {tokens / el:.0f}/s",
                "wait %.1f" % WAIT[0],
                "memory %.1f" % (torch.cuda.max_memory_allocated() / 2**30 if cuda else 0),
                {k: round(float(torch.stack(v).mean()), 3) for k, v in sorted(stats.items())},
            )
            stats.clear()
            if keep and time.time() - saved > 55:
                save(model, name)
                saved = time.time()
    log(name, "steps", step, "passages", rows)
    if keep:
        save(model, name)
    del stream
    return model


if a.ablate:
    scores = {}
    for v in a.variants.split(","):
        model = train(v, a.ablate, v, keep=False, start=0.06)
        scores[v] = dev_loss(model)
        log("ABLATION", v, scores[v])
        json.dump(scores, open(f"{a.out}/ablation.json", "w"))
    # attention in both directions has to be learned anew, so it may start a little behind
    variant = min(
        (v for v in scores if not v.endswith("input")),
        key=lambda v: scores[v]["right4"] + scores[v]["right16"] - 0.1 * ("both" in v),
    )
else:
    variant = a.variant
if a.seconds:
    model = train(variant, a.seconds, "model", resume=a.resume, start=a.phase)
    json.dump({"variant": variant, "args": vars(a)}, open(f"{a.out}/model.json", "w"))
    log("loss", dev_loss(model, (2, 4, 8, 16, 32)))
    r = evaluate(model, a.questions, brief=not cuda)

log("done")
sys.stdout.flush()
os._exit(0)
