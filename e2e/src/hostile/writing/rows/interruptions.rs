//! Steps that break: once, and always.

use super::unavailable;
use crate::hostile::reply::Reply;
use crate::hostile::writing::{Act, End, First, Row, Step};

const STEPS: [(&str, Act, Step); 8] = [
    ("head-of-a-blob", Act::Push, Step::HeadBlob),
    ("start", Act::Push, Step::Start),
    ("part", Act::PushLarge, Step::Part),
    ("end", Act::Push, Step::End),
    ("manifest", Act::Push, Step::PutDigest),
    ("manifest-on-its-way-back", Act::Push, Step::GetDigest),
    ("tag", Act::Push, Step::PutTag),
    ("tag-on-its-way-back", Act::Push, Step::HeadTag),
];

pub(super) fn rows() -> Vec<Row> {
    let mut all = Vec::new();
    for (name, act, step) in STEPS {
        all.push(Row::once(&format!("{name}-fails-once"), act, End::Stored, step, |_, _| {
            Reply::of("500 Internal Server Error", &[], b"")
        }));
        all.push(Row::once(&format!("{name}-is-cut-once"), act, End::Stored, step, |_, _| Reply::default().close()));
        all.push(Row::once(&format!("{name}-is-reset-once"), act, End::Stored, step, |_, _| Reply::default().reset()));
    }
    [all, lost(), bodies(), always()].concat()
}

/// Steps that succeed, and whose answer is lost.
fn lost() -> Vec<Row> {
    let row = |(name, act, step): (&str, Act, Step)| {
        let first = First::default();
        Row::new(&format!("answer-to-the-{name}-is-lost-once"), act, End::Stored, move |ask, _, shelf| {
            (Step::of(ask) == step && first.is_first()).then(|| {
                let _ = shelf.answer(ask);
                Reply::default().reset()
            })
        })
    };
    [
        ("start", Act::Push, Step::Start),
        ("part", Act::PushLarge, Step::Part),
        ("end", Act::Push, Step::End),
        ("manifest", Act::Push, Step::PutDigest),
        ("tag", Act::Push, Step::PutTag),
    ]
    .into_iter()
    .map(row)
    .collect()
}

/// Connections that end before the body has been read.
fn bodies() -> Vec<Row> {
    let row = |(name, act, step): (&str, Act, Step)| {
        let first = First::default();
        Row::new(&format!("body-of-the-{name}-is-cut-once"), act, End::Stored, |_, _, _| None)
            .hasty(move |ask, _| (Step::of(ask) == step && first.is_first()).then(|| Reply::default().reset()))
    };
    let early = First::default();
    let mut all: Vec<_> =
        [("part", Act::PushLarge, Step::Part), ("end", Act::Push, Step::End), ("tag", Act::Push, Step::PutTag)]
            .into_iter()
            .map(row)
            .collect();
    all.push(Row::new("body-of-the-part-is-answered-too-early", Act::PushLarge, End::Stored, |_, _, _| None).hasty(
        move |ask, _| {
            let is_due = Step::of(ask) == Step::Part && early.is_first();
            is_due.then(|| Reply::of("500 Internal Server Error", &[], b"").closing())
        },
    ));
    all
}

/// Steps that never succeed. The command gives up after about half a minute.
fn always() -> Vec<Row> {
    let fails = |(name, act, step): (&str, Act, Step)| {
        Row::at(&format!("{name}-always-fails"), act, unavailable("500"), step, |_, _| {
            Reply::of("500 Internal Server Error", &[], b"")
        })
    };
    let cut = |(name, act, step): (&str, Act, Step)| {
        let is_cut = |_: &_, _: &_| Reply::default().close();
        Row::at(&format!("{name}-is-always-cut"), act, unavailable("127.0.0.1"), step, is_cut)
    };
    STEPS.into_iter().map(fails).chain(STEPS.into_iter().map(cut)).collect()
}
