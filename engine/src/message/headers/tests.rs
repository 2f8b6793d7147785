use super::*;
use proptest::prelude::*;

#[test]
fn fields_keep_their_order_and_changes_append() {
    let mut block = HeaderBlock::default();
    block.push(b"Accept", b"a");
    block.push(b"X-Mine", b"1");
    block.push(b"accept", b"b");
    assert_eq!(block.all_id(NameId::ACCEPT).collect::<Vec<_>>(), [b"a", b"b"]);
    block.set(&Name::new("Accept"), b"c");
    let names: Vec<_> = block.iter().map(|(_, name, value)| (name.to_vec(), value.to_vec())).collect();
    assert_eq!(names, [(b"x-mine".to_vec(), b"1".to_vec()), (b"accept".to_vec(), b"c".to_vec())]);
    assert!(block.remove(&Name::new("x-mine")) && !block.remove(&Name::new("x-mine")));
    assert_eq!(block.len(), 1);
}

#[test]
fn neighbouring_lines_are_written_as_one() {
    let mut block = HeaderBlock::default();
    block.stash(b"via: a\r\nx-b: c\r\nx-d:  e\r\nx-f: g\r\nx-h: i\r\n");
    let at = |start, length| Span { start, length };
    block.push_line(NameId::VIA, at(0, 3), at(5, 1));
    block.push_line(NameId::OTHER, at(8, 3), at(13, 1));
    block.push_known(NameId::OTHER, at(16, 3), at(22, 1));
    block.push_line(NameId::OTHER, at(25, 3), at(30, 1));
    block.push_line(NameId::OTHER, at(33, 3), at(38, 1));
    block.push_id(NameId::DATE, b"now");
    let field = |name, value| Lines::Field { name, value };
    let (spaced, date) = (field(&b"x-d"[..], &b"e"[..]), field(b"date", b"now"));
    let last = Lines::Ready(b"x-f: g\r\nx-h: i\r\n");
    let all: Vec<_> = block.lines(NameSet::default()).collect();
    assert_eq!(all, [Lines::Ready(b"via: a\r\nx-b: c\r\n"), spaced, last, date]);
    block.remove(&Name::new("x-f"));
    let some: Vec<_> = block.lines(NameSet::of(&[NameId::VIA])).collect();
    assert_eq!(some, [Lines::Ready(b"x-b: c\r\n"), spaced, Lines::Ready(b"x-h: i\r\n"), date]);
}

#[test]
fn memory_that_is_used_again_holds_nothing_of_before() {
    for _ in 0..2 {
        let mut block = HeaderBlock::with_capacity(100, 4);
        assert!(block.is_empty() && block.bytes() == 0 && !block.contains_id(NameId::ACCEPT));
        block.push(b"accept", b"secret");
    }
}

#[test]
fn a_field_that_was_removed_can_come_again() {
    let mut block = HeaderBlock::default();
    let gone = NameSet::of(&[NameId::ACCEPT, NameId::VIA]);
    assert!(!block.may_contain(gone) && !block.remove_ids(gone));
    block.push_id(NameId::ACCEPT, b"a");
    block.push_name(&Name::new("x-mine"), b"1");
    assert_eq!(block.bytes(), b"acceptax-mine1".len());
    assert!(block.remove_ids(gone) && !block.contains_id(NameId::ACCEPT));
    block.push_name(&Name::new("Accept"), b"b");
    let fields: Vec<_> = block.iter().map(|(_, name, value)| (name, value)).collect();
    assert_eq!(fields, [(&b"x-mine"[..], &b"1"[..]), (b"accept", b"b")]);
}

#[test]
fn a_mark_tells_whether_fields_changed() {
    let mut block = HeaderBlock::default();
    block.push(b"a", b"1");
    let mark = block.mark();
    assert_eq!(block.mark(), mark);
    block.remove(&Name::new("a"));
    assert_ne!(block.mark(), mark);
    assert_eq!(block.iter_with_removed().collect::<Vec<_>>(), [None]);
}

/// What a test does to a block.
#[derive(Debug, Clone)]
enum Step {
    Push(String, String),
    Set(String, String),
    Remove(String),
    RemoveMany(Vec<String>),
    RemoveWhere(u8),
}

/// Few enough that they meet; some are well known, some differ in their letters alone.
fn name() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &["x-request-id", "X-Request-Id", "traceparent", "Via", "accept", "bolt-class"];
    prop_oneof![proptest::sample::select(KNOWN).prop_map(str::to_owned), "[abAB]{0,2}"]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (name(), "[a-z]{0,3}").prop_map(|(name, value)| Step::Push(name, value)),
        (name(), "[a-z]{0,3}").prop_map(|(name, value)| Step::Set(name, value)),
        name().prop_map(Step::Remove),
        proptest::collection::vec(name(), 0..4).prop_map(Step::RemoveMany),
        any::<u8>().prop_map(Step::RemoveWhere),
    ]
}

fn take(block: &mut HeaderBlock, step: &Step) {
    match step {
        Step::Push(name, value) => block.push(name.as_bytes(), value.as_bytes()),
        Step::Set(name, value) => block.set(&Name::new(name), value.as_bytes()),
        Step::Remove(name) => drop(block.remove(&Name::new(name))),
        Step::RemoveMany(names) => {
            let ids: Vec<_> = names.iter().map(|name| Name::new(name).id).collect();
            let known: Vec<_> = ids.into_iter().filter(|id| *id != NameId::OTHER).collect();
            block.remove_ids(NameSet::of(&known));
        }
        Step::RemoveWhere(number) => {
            block.remove_where(|id, name, value| {
                (usize::from(id.0) + name.len() * 3 + value.len()) % 7 == usize::from(number % 7)
            });
        }
    }
}

/// All that a block says of itself, asked in one way or another.
fn told(block: &HeaderBlock) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut told = vec![format!("{}", block.len())];
    told.extend(block.iter().map(|(id, name, value)| format!("{id:?} {} {}", text(name), text(value))));
    told.extend(block.iter_with_removed().map(|field| format!("{}", field.is_some())));
    told
}

fn answers(block: &HeaderBlock, name: &str) -> Vec<String> {
    let name = Name::new(name);
    let mut values: Vec<_> =
        block.all(&name).map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    let expected = match *block.all(&name).collect::<Vec<_>>() {
        [] => Values::None,
        [value] => Values::One(value),
        _ => Values::Several,
    };
    assert_eq!(block.values(&name), expected);
    values.push(format!("{:?}", block.get(&name)));
    if name.id != NameId::OTHER {
        values.push(format!("{:?} {}", block.get_id(name.id), block.contains_id(name.id)));
        values.push(format!("{}", block.all_id(name.id).count()));
    }
    values
}

proptest! {
    /// Attributes, recorded fields, and what is done then: beside a block whose fields were lowered and counted one by one.
    #[test]
    fn a_recorded_block_answers_like_a_settled_one(
        attributes in proptest::collection::vec((name(), "[a-z]{0,3}"), 0..3),
        mut pairs in prop_oneof![
            9 => proptest::collection::vec((name(), "[a-z]{0,3}"), 0..12),
            1 => proptest::collection::vec((name(), "[a-z]{0,3}"), 240..270),
        ],
        last_wins: bool,
        (fails, wanted) in (proptest::bool::weighted(0.1), proptest::collection::vec(name(), 0..4)),
        steps in proptest::collection::vec((step(), name(), 0u8..4), 0..12),
    ) {
        let (mut recorded, mut plain) = (HeaderBlock::default(), HeaderBlock::default());
        for (name, value) in &attributes {
            recorded.push(name.as_bytes(), value.as_bytes());
            plain.push(name.as_bytes(), value.as_bytes());
        }
        let spans: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (recorded.stash(name.as_bytes()), recorded.stash(value.as_bytes())))
            .collect();
        let walk = |recorder: &mut Recorder<'_>| {
            let texts = spans.iter().zip(&pairs);
            texts.for_each(|((name, value), (text, _))| {
                let letters = text.bytes().next().zip(text.bytes().last());
                recorder.add(*name, letters.unwrap_or((b'?', b'?')), *value);
            });
            if fails { Err(()) } else { Ok(()) }
        };
        let mut found = vec![None; wanted.len()];
        let names = wanted.iter().map(|name| name.as_bytes());
        let taken = recorded.record(last_wins, walk, names, |number, value| found[number] = Some(value));
        prop_assert_eq!(taken.is_err(), fails);
        if fails {
            pairs.clear();
        }
        for (name, found) in wanted.iter().zip(found) {
            let mut same = pairs.iter().zip(&spans).filter(|((text, _), _)| text == name).map(|(_, (_, value))| *value);
            prop_assert_eq!(found, if last_wins { same.next_back() } else { same.next() });
        }
        let same = |index: usize, other: usize| pairs[index].0.eq_ignore_ascii_case(&pairs[other].0);
        for (index, (name, value)) in pairs.iter().enumerate() {
            plain.push(name.as_bytes(), value.as_bytes());
            let counts = if last_wins {
                !(index + 1..pairs.len()).any(|other| same(index, other))
            } else {
                !(0..index).any(|other| same(index, other))
            };
            if !counts {
                plain.store.entries.last_mut().unwrap().remove();
                plain.written.repeated += 1;
            }
        }
        let (mark, plain_mark) = (recorded.mark(), plain.mark());
        let (other, other_plain) = (recorded.clone(), plain.clone());
        for (step, asked, how) in &steps {
            if *how == 0 {
                prop_assert_eq!(told(&recorded), told(&plain));
            }
            if *how < 2 {
                prop_assert_eq!(answers(&recorded, asked), answers(&plain, asked));
            }
            take(&mut recorded, step);
            take(&mut plain, step);
            prop_assert_eq!(recorded.mark() == mark, plain.mark() == plain_mark);
            let since = |block: &HeaderBlock, mark| block.iter_since(mark).map(|field| field.map(|(id, ..)| id)).collect::<Vec<_>>();
            prop_assert_eq!(since(&recorded, mark), since(&plain, plain_mark));
            prop_assert_eq!(answers(&recorded, asked), answers(&plain, asked));
        }
        prop_assert_eq!(told(&recorded), told(&plain));
        prop_assert_eq!(recorded.repeated(), plain.repeated());
        prop_assert!(other == other_plain && told(&other) == told(&other_plain));
    }

    #[test]
    fn a_name_in_any_letters_is_like_itself(index in 1u8..106, capitals: u64) {
        let text = NameId(index).text();
        prop_assume!(!text.is_empty());
        let written: Vec<u8> = text
            .bytes()
            .enumerate()
            .map(|(at, byte)| if capitals >> (at % 64) & 1 == 1 { byte.to_ascii_uppercase() } else { byte })
            .collect();
        let mut like = NameSet::default();
        like.insert_like(written.len(), written[written.len() - 1]);
        prop_assert!(like.contains(NameId::OTHER) && like.contains(NameId::of(text.as_bytes())));
    }
}
