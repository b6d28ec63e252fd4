//! Who lies, repeats or deviates is refused, and learns nothing.

use super::*;

/// A sum of `n` sites, up to and with the exchange `rounds`, honest.
fn honest(n: u16, rounds: usize) -> (Consortium, Session, BTreeMap<NodeId, Standing>, Transcript) {
    let mut consortium = Consortium::of(n, 5);
    let plan = consortium.plan(8);
    let mut standings = consortium.standings();
    let mut session = Session::open(&mut consortium, &plan, &mut standings);
    let mut said =
        Transcript { advertisements: session.coordinator.close_advertising().unwrap(), ..Default::default() };
    let identities = &consortium.identities;
    if rounds > 0 {
        for (id, node) in &mut session.nodes {
            session.coordinator.shared(&node.share(&said.advertisements, &identities[id]).unwrap()).unwrap();
        }
        said.shares = session.coordinator.close_sharing().unwrap();
    }
    if rounds > 1 {
        for (id, node) in &mut session.nodes {
            let mut words = session.words[id].clone();
            let message = node.mask(&said.shares, &mut words, &identities[id]).unwrap();
            session.coordinator.masked(&message, &words).unwrap();
            said.masked.insert(*id, (message, words));
        }
        said.survivors = session.coordinator.close_masking().unwrap();
    }
    if rounds > 2 {
        for (id, node) in &mut session.nodes {
            session.coordinator.agreed(&node.agree(&said.survivors, &identities[id]).unwrap()).unwrap();
        }
        said.agreements = session.coordinator.close_agreeing().unwrap();
    }
    (consortium, session, standings, said)
}

struct Transcript {
    advertisements: BTreeMap<NodeId, Advertisement>,
    shares: BTreeMap<NodeId, Shares>,
    masked: BTreeMap<NodeId, (Masked, Vec<u32>)>,
    survivors: Survivors,
    agreements: BTreeMap<NodeId, Agreement>,
}

impl Default for Transcript {
    fn default() -> Self {
        Self {
            advertisements: BTreeMap::new(),
            shares: BTreeMap::new(),
            masked: BTreeMap::new(),
            survivors: Survivors(BTreeMap::new()),
            agreements: BTreeMap::new(),
        }
    }
}

/// 3: lists of survivors that are not what happened.
#[test]
fn a_lying_list_of_survivors_is_refused() {
    let (consortium, session, _, said) = honest(5, 2);
    type List = BTreeMap<NodeId, [u8; 32]>;
    let agree = |change: &dyn Fn(&mut List)| {
        let mut list = said.survivors.clone();
        change(&mut list.0);
        let mut node = session.nodes[&id(1)].clone();
        let result = node.agree(&list, &consortium.identities[&id(1)]);
        assert_eq!(result.is_err(), node.has_ended());
        result.map(|_| ())
    };
    assert_eq!(agree(&|_| ()), Ok(()));
    assert_eq!(agree(&|list| _ = list.remove(&id(5))), Ok(()), "one may drop out of five");
    assert_eq!(agree(&|list| list.retain(|id, _| u16::from(*id) < 4)), Err(Abort::TooFew { found: 3, needed: 4 }));
    assert_eq!(agree(&|list| _ = list.remove(&id(1))), Err(Abort::OwnChanged));
    assert_eq!(agree(&|list| _ = list.insert(id(1), [0; 32])), Err(Abort::OwnChanged));
    assert_eq!(agree(&|list| _ = list.insert(id(9), [0; 32])), Err(Abort::Unexpected(id(9))));
}

/// 3: different lists to different sites: no list gets enough signatures, and a site answers only for the one it signed.
#[test]
fn sites_that_see_different_lists_unmask_nothing() {
    let (consortium, mut session, mut standings, said) = honest(5, 2);
    let identities = &consortium.identities;
    let mut without_five = said.survivors.clone();
    without_five.0.remove(&id(5));
    let mut one = BTreeMap::new();
    let mut other = BTreeMap::new();
    for number in 1..=5 {
        let (list, agreements) = if number <= 2 { (&said.survivors, &mut one) } else { (&without_five, &mut other) };
        if let Ok(agreement) = session.nodes.get_mut(&id(number)).unwrap().agree(list, &identities[&id(number)]) {
            agreements.insert(id(number), agreement);
        }
    }
    let mut mixed = one.clone();
    mixed.extend(other.clone());
    for (number, agreements) in [(1, &one), (1, &mixed), (3, &other), (3, &mixed)] {
        let node = session.nodes.get_mut(&id(number)).unwrap();
        let result = node.unmask(agreements, standings.get_mut(&id(number)).unwrap());
        assert!(matches!(result, Err(Abort::TooFewAgree { needed: 4, .. })), "{result:?}");
    }
    assert!(standings.values().all(|standing| standing.unmasked.is_empty()));
}

/// 3: signatures that do not count.
#[test]
fn repeated_foreign_and_false_signatures_do_not_count() {
    let (_, session, standings, said) = honest(5, 3);
    let unmask = |agreements: &BTreeMap<NodeId, Agreement>| {
        session.nodes[&id(1)].clone().unmask(agreements, &mut standings[&id(1)].clone())
    };
    let mut agreements = said.agreements.clone();
    assert!(unmask(&agreements).is_ok());
    agreements.retain(|id, _| u16::from(*id) < 4);
    assert_eq!(unmask(&agreements), Err(Abort::TooFewAgree { found: 3, needed: 4 }));
    agreements.insert(id(4), said.agreements[&id(3)].clone());
    assert_eq!(unmask(&agreements), Err(Abort::TooFewAgree { found: 3, needed: 4 }), "the same twice");
    let mut foreign = said.agreements[&id(4)].clone();
    foreign.signature[3] ^= 1;
    agreements.insert(id(4), foreign);
    assert_eq!(unmask(&agreements), Err(Abort::TooFewAgree { found: 3, needed: 4 }), "a changed one");
}

/// 3: nor does the signature of a site that the list says has dropped out.
#[test]
fn only_survivors_agree_on_the_survivors() {
    use ed25519_dalek::Signer;
    let (consortium, mut session, mut standings, said) = honest(5, 2);
    let mut survivors = said.survivors.clone();
    survivors.0.remove(&id(5));
    let mut agreements = BTreeMap::new();
    for number in 1..=3 {
        let node = session.nodes.get_mut(&id(number)).unwrap();
        agreements.insert(id(number), node.agree(&survivors, &consortium.identities[&id(number)]).unwrap());
    }
    let t1 = node::t1(session.manifest.sid(), said.advertisements.values());
    let digest = |shares: &Shares| primitives::hash([shares.signed_part().as_slice()]);
    let t2 = node::t2(&t1, said.shares.iter().map(|(id, shares)| (id, digest(shares))));
    let text = node::agreement_text(&node::t3(&t2, &survivors));
    let agree =
        |number| Agreement { id: id(number), signature: consortium.identities[&id(number)].sign(&text).to_bytes() };
    let mut unmask = |agreements: &BTreeMap<NodeId, Agreement>| {
        session.nodes[&id(1)].clone().unmask(agreements, standings.get_mut(&id(1)).unwrap())
    };
    agreements.insert(id(5), agree(5));
    assert_eq!(unmask(&agreements), Err(Abort::TooFewAgree { found: 3, needed: 4 }));
    agreements.insert(id(4), agree(4));
    assert!(unmask(&agreements).is_ok(), "the text is the right one");
}

/// Never both shares of one site: of no answer, whatever is asked.
#[test]
fn an_answer_is_given_once_and_holds_one_share_of_each_site() {
    let (consortium, mut session, mut standings, said) = honest(5, 2);
    let identities = &consortium.identities;
    let mut survivors = said.survivors.clone();
    survivors.0.remove(&id(5));
    let mut agreements = BTreeMap::new();
    for number in 1..=4 {
        let node = session.nodes.get_mut(&id(number)).unwrap();
        agreements.insert(id(number), node.agree(&survivors, &identities[&id(number)]).unwrap());
        assert_eq!(node.agree(&said.survivors, &identities[&id(number)]), Err(Abort::OutOfTurn));
    }
    let (node, standing) = (session.nodes.get_mut(&id(1)).unwrap(), standings.get_mut(&id(1)).unwrap());
    let answer = node.unmask(&agreements, standing).unwrap();
    assert!(answer.seeds.keys().all(|id| !answer.keys.contains_key(id)));
    assert_eq!((answer.seeds.len(), answer.keys.len()), (4, 1));
    assert_eq!(node.unmask(&agreements, standing).unwrap(), answer, "a retry gets the same bytes");
    let stored = serde_json::to_vec(&*node).unwrap();
    let mut restored: Node = serde_json::from_slice(&stored).unwrap();
    assert_eq!(restored.unmask(&agreements, standing).unwrap(), answer, "after a restart, too");
    assert_eq!(node.unmask(&said.agreements, standing), Err(Abort::AnsweredOther));
}

/// 4 and 5: replays, and a second attempt after an answer.
#[test]
fn old_messages_and_another_attempt_are_refused() {
    let (mut consortium, mut session, mut standings, said) = honest(5, 3);
    let standing = standings.get_mut(&id(1)).unwrap();
    session.nodes.get_mut(&id(1)).unwrap().unmask(&said.agreements, standing).unwrap();
    let before = standings.clone();
    let plan = |round, attempt| Plan { round, attempt, ..consortium.plan(8) };
    let plans = [plan(1, 0), plan(1, 1), plan(2, 0)];
    let mut join = |plan: &Plan, standing: &mut Standing| {
        let manifest = Manifest::new(plan).unwrap();
        let random = consortium.random(manifest.threshold());
        let (roster, identity) = (consortium.roster.clone(), consortium.identities[&standing.id].clone());
        Node::join(manifest, &roster, standing, &basis(), random, &identity)
    };
    // Site 1 has answered, site 2 has only joined.
    let standing = |number| before[&id(number)].clone();
    assert_eq!(join(&plans[0], &mut standing(1)).unwrap_err(), Abort::Stale { round: 1, attempt: 0 });
    assert_eq!(join(&plans[1], &mut standing(1)).unwrap_err(), Abort::UnmaskedBefore { round: 1 });
    assert_eq!(join(&plans[0], &mut standing(2)).unwrap_err(), Abort::Stale { round: 1, attempt: 0 });
    assert!(join(&plans[2], &mut standing(1)).is_ok(), "the next round");
    let (mut node, _) = join(&plans[1], &mut standing(2)).unwrap();
    // Everything of the first attempt is worth nothing in the second.
    let identity = consortium.identities[&id(2)].clone();
    assert!(matches!(node.clone().share(&said.advertisements, &identity), Err(Abort::OwnChanged)));
    let mut own = said.advertisements.clone();
    own.insert(id(2), join_message(&consortium, &plans[1]));
    assert!(node.share(&own, &identity).is_err());
    assert_eq!(node.share(&own, &identity), Err(Abort::Ended));

    let manifest = Manifest::new(&plans[1]).unwrap();
    let mut coordinator = Coordinator::open(manifest, &consortium.roster).unwrap();
    let old = &said.advertisements[&id(3)];
    assert_eq!(coordinator.advertised(old), Err(CoordinationError::Signature(id(3))));
}

fn join_message(consortium: &Consortium, plan: &Plan) -> Advertisement {
    let manifest = Manifest::new(plan).unwrap();
    let random = Randomness::draw(manifest.threshold(), |bytes| bytes.fill(9));
    let (mut standing, identity) = (consortium.standing(id(2)), &consortium.identities[&id(2)]);
    Node::join(manifest, &consortium.roster, &mut standing, &basis(), random, identity).unwrap().1
}

/// 6: keys that are not the site's, repeated, or of low order.
#[test]
fn substituted_repeated_and_weak_keys_are_refused() {
    let (consortium, session, _, said) = honest(5, 0);
    let share = |change: &dyn Fn(&mut BTreeMap<NodeId, Advertisement>)| {
        let mut all = said.advertisements.clone();
        change(&mut all);
        session.nodes[&id(1)].clone().share(&all, &consortium.identities[&id(1)]).map(|_| ()).unwrap_err()
    };
    let sign = |advertisement: &mut Advertisement| {
        use ed25519_dalek::Signer;
        let text = node::advertisement_text(session.manifest.sid(), advertisement);
        advertisement.signature = consortium.identities[&advertisement.id].sign(&text).to_bytes();
    };
    assert_eq!(share(&|all| all.get_mut(&id(2)).unwrap().box_key[0] ^= 1), Abort::Signature(id(2)));
    let repeat = |all: &mut BTreeMap<NodeId, Advertisement>| {
        let key = all[&id(2)].mask_key;
        let third = all.get_mut(&id(3)).unwrap();
        third.mask_key = key;
        sign(third);
    };
    assert_eq!(share(&repeat), Abort::WeakKey(id(3)));
    for weak in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        for pick in [0, 1] {
            let weaken = |all: &mut BTreeMap<NodeId, Advertisement>| {
                let third = all.get_mut(&id(3)).unwrap();
                if pick == 0 {
                    third.mask_key = weak
                } else {
                    third.box_key = weak
                }
                sign(third);
            };
            assert_eq!(share(&weaken), Abort::WeakKey(id(3)));
        }
    }
    assert_eq!(share(&|all| _ = all.remove(&id(1))), Abort::OwnChanged);
    assert_eq!(share(&|all| all.retain(|id, _| u16::from(*id) < 3)), Abort::TooFew { found: 2, needed: 4 });
    let swap = |all: &mut BTreeMap<NodeId, Advertisement>| {
        let second = all[&id(2)].clone();
        all.insert(id(3), second);
    };
    assert_eq!(share(&swap), Abort::Unexpected(id(3)));
}

/// 6 and 7: rosters that the consortium has not signed, hospitals that it does not know, revoked ones.
#[test]
fn the_coordinator_cannot_invent_hospitals() {
    let mut consortium = Consortium::of(4, 1);
    let other = Consortium::of(5, 2);
    let join = |roster: &Roster, manifest: &Manifest, random: Randomness| {
        let (mut standing, identity) = (consortium.standing(id(1)), &consortium.identities[&id(1)]);
        Node::join(manifest.clone(), roster, &mut standing, &basis(), random, identity).map(|_| ())
    };
    let fake = Manifest::new(&other.plan(4)).unwrap();
    let random = || Randomness::draw(4, |bytes| bytes.fill(3));
    assert!(matches!(join(&other.roster, &fake, random()), Err(Abort::Roster { .. })));
    // The right roster's name, with a participant who is not in it.
    let mut plan = consortium.plan(4);
    plan.participants.insert(id(9));
    assert_eq!(join(&consortium.roster, &Manifest::new(&plan).unwrap(), random()), Err(Abort::Stranger(id(9))));
    let plan = Plan { participants: (2..=4).map(id).collect(), ..consortium.plan(4) };
    assert_eq!(join(&consortium.roster, &Manifest::new(&plan).unwrap(), random()), Err(Abort::NotInvited(id(1))));
    let other = Digest::from([0x22; 32]);
    for (basis, what) in [
        (Basis { model: other, ..basis() }, "global model"),
        (Basis { schema: Some(other), ..basis() }, "network"),
        (Basis { config: None, ..basis() }, "training configuration"),
    ] {
        let manifest = Manifest::new(&Plan { basis, ..consortium.plan(4) }).unwrap();
        assert_eq!(join(&consortium.roster, &manifest, random()), Err(Abort::Basis { what }), "8: another basis");
    }

    let key = SigningKey::from_bytes(&[1; 32]);
    let mut list = members(&consortium.identities);
    let signed = SignedRoster::sign("demo", 2, None, list.clone(), &key.verifying_key(), &key).unwrap();
    let stranger = SigningKey::from_bytes(&[2; 32]).verifying_key();
    assert_eq!(signed.verify(&stranger).unwrap_err(), RosterError::Signature);
    let mut changed = signed.clone();
    let at = changed.bytes.windows(10).position(|part| part == b"hospital_2").unwrap();
    changed.bytes[at + 9] = b'3';
    assert_eq!(changed.verify(&key.verifying_key()).unwrap_err(), RosterError::Signature);
    list.push(list[0].clone());
    assert!(matches!(
        SignedRoster::sign("demo", 2, None, list, &key.verifying_key(), &key),
        Err(RosterError::Twice { .. })
    ));
    consortium.identities.remove(&id(4));
    let plan = Plan { participants: (1..=4).map(id).collect(), ..consortium.plan(4) };
    let revoked =
        SignedRoster::sign("demo", 2, None, members(&consortium.identities), &key.verifying_key(), &key).unwrap();
    let revoked = revoked.verify(&key.verifying_key()).unwrap();
    let manifest = Manifest::new(&Plan { roster: revoked.digest(), ..plan }).unwrap();
    assert_eq!(Coordinator::open(manifest, &revoked).unwrap_err(), CoordinationError::Unexpected(id(4)));
    assert_eq!(signed.verify(&key.verifying_key()).unwrap().fingerprint().len(), 39);
}

/// 8: a site that was shown other shares than the rest makes masks that do not cancel: noise, never another site's update.
#[test]
fn different_views_give_noise() {
    let (consortium, mut session, _, said) = honest(5, 1);
    let identities = &consortium.identities;
    let mut fewer = said.shares.clone();
    fewer.remove(&id(5));
    let mut sum = vec![0_u32; session.manifest.words()];
    for number in 1..=4 {
        let shares = if number == 1 { &fewer } else { &said.shares };
        let mut words = session.words[&id(number)].clone();
        let node = session.nodes.get_mut(&id(number)).unwrap();
        let message = node.mask(shares, &mut words, &identities[&id(number)]).unwrap();
        if number == 1 {
            assert_eq!(session.coordinator.masked(&message, &words), Err(CoordinationError::Signature(id(1))));
        }
        sum.iter_mut().zip(&words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
    }
    assert_ne!(sum, session.sum_of((1..=4).map(id)));
}

/// 9: every message with one bit changed is refused and names the right site; the honest one is still taken afterwards.
#[test]
fn changed_messages_are_refused_by_name_and_leave_no_trace() {
    let (consortium, mut session, mut standings, said) = honest(4, 0);
    let identities = &consortium.identities;
    let third = id(3);
    let mut messages = BTreeMap::new();
    for (id, node) in &mut session.nodes {
        messages.insert(*id, node.share(&said.advertisements, &identities[id]).unwrap());
    }
    let bytes = messages[&third].to_bytes();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        let Ok(changed) = Shares::from_bytes(&changed) else { continue };
        let error = session.coordinator.shared(&changed).unwrap_err();
        let named = matches!(
            error,
            CoordinationError::Signature(_) | CoordinationError::Entries(_) | CoordinationError::Unexpected(_)
        );
        assert!(named, "byte {at}: {error}");
    }
    for message in messages.values() {
        session.coordinator.shared(message).unwrap();
        session.coordinator.shared(message).unwrap();
    }
    let shares = session.coordinator.close_sharing().unwrap();
    // A box that was changed on its way with a fitting signature cannot exist; one that was cut out is noticed.
    let mut cut = shares.clone();
    cut.get_mut(&third).unwrap().receivers.get_mut(&id(1)).unwrap().sealed = None;
    let mut words = session.words[&id(1)].clone();
    let before = words.clone();
    let refused = session.nodes[&id(1)].clone().mask(&cut, &mut words, &identities[&id(1)]);
    assert_eq!((refused, &words), (Err(Abort::Signature(third)), &before));
    let mut sum = vec![0_u32; session.manifest.words()];
    for (id, node) in &mut session.nodes {
        let mut words = session.words[id].clone();
        let message = node.mask(&shares, &mut words, &identities[id]).unwrap();
        let mut changed = words.clone();
        changed[0] ^= 1;
        assert_eq!(session.coordinator.masked(&message, &changed), Err(CoordinationError::Content(*id)));
        assert!(matches!(session.coordinator.masked(&message, &words[1..]), Err(CoordinationError::Length { .. })));
        session.coordinator.masked(&message, &words).unwrap();
        // A retry after a lost answer.
        session.coordinator.masked(&message, &words).unwrap();
        sum.iter_mut().zip(&words).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
    }
    let survivors = session.coordinator.close_masking().unwrap();
    for (id, node) in &mut session.nodes {
        session.coordinator.agreed(&node.agree(&survivors, &identities[id]).unwrap()).unwrap();
    }
    let agreements = session.coordinator.close_agreeing().unwrap();
    for (id, node) in &mut session.nodes {
        let honest = node.unmask(&agreements, standings.get_mut(id).unwrap()).unwrap();
        let mut lie = honest.clone();
        lie.seeds.get_mut(&third).unwrap()[7] ^= 4;
        assert_eq!(session.coordinator.unmasked(&lie), Err(CoordinationError::Share { from: *id, of: third }));
        session.coordinator.unmasked(&honest).unwrap();
    }
    session.coordinator.finish().unwrap().take_off(&mut sum);
    assert_eq!(sum, session.sum_of((1..=4).map(id)));
}

/// 11: what the coordinator gets of one site is uniform: chi-square over bytes at the 10⁻⁶ level, for an update of zeros.
#[test]
fn a_masked_update_looks_uniform() {
    let mut consortium = Consortium::of(3, 8);
    let plan = consortium.plan(50_000);
    let mut standings = consortium.standings();
    let mut session = Session::open(&mut consortium, &plan, &mut standings);
    let all = session.coordinator.close_advertising().unwrap();
    for (id, node) in &mut session.nodes {
        session.coordinator.shared(&node.share(&all, &consortium.identities[id]).unwrap()).unwrap();
    }
    let shares = session.coordinator.close_sharing().unwrap();
    for (id, node) in &mut session.nodes {
        let mut words = vec![0; session.manifest.words()];
        node.mask(&shares, &mut words, &consortium.identities[id]).unwrap();
        let mut counts = [0_u32; 256];
        words.iter().flat_map(|word| word.to_le_bytes()).for_each(|byte| counts[usize::from(byte)] += 1);
        let expected = f64::from(counts.iter().sum::<u32>()) / 256.0;
        let chi_square: f64 = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        // 255 degrees of freedom: mean 255, standard deviation 22.6; 380 is the 10⁻⁶ quantile.
        assert!((150.0..380.0).contains(&chi_square), "{chi_square}");
    }
}

/// 11: with everything that the coordinator holds before R4, two different updates of a site cannot be told apart: for
/// another update there is another self-mask that gives the same message. Here that the message says nothing of its own:
/// the same update twice gives unrelated words.
#[test]
fn the_same_update_twice_gives_unrelated_words() {
    let mut seen = BTreeSet::new();
    for seed in 0..8 {
        let mut consortium = Consortium::of(3, seed);
        let plan = consortium.plan(4);
        let mut standings = consortium.standings();
        let mut session = Session::open(&mut consortium, &plan, &mut standings);
        let all = session.coordinator.close_advertising().unwrap();
        for (id, node) in &mut session.nodes {
            session.coordinator.shared(&node.share(&all, &consortium.identities[id]).unwrap()).unwrap();
        }
        let shares = session.coordinator.close_sharing().unwrap();
        for (id, node) in &mut session.nodes {
            let mut words = vec![1; session.manifest.words()];
            node.mask(&shares, &mut words, &consortium.identities[id]).unwrap();
            assert!(words.iter().all(|word| seen.insert(*word)), "a word came twice");
        }
    }
}

/// 12: sums that hide nothing, and everything else that a manifest must not say.
#[test]
fn a_manifest_that_does_not_protect_is_refused() {
    let consortium = Consortium::of(5, 3);
    for n in [0, 1, 2] {
        let plan = Plan { participants: (1..=n).map(id).collect(), ..consortium.plan(4) };
        let error = Manifest::new(&plan).unwrap_err();
        assert!(matches!(error, ManifestError::Value { field: "number of participants", .. }), "{error}");
    }
    let sound = String::from_utf8(Manifest::new(&consortium.plan(4)).unwrap().bytes().to_vec()).unwrap();
    for (old, new, field) in [
        ("\"t\":4", "\"t\":3", "threshold t"),
        ("\"t\":4", "\"t\":6", "threshold t"),
        ("\"n_min\":3", "\"n_min\":2", "n_min"),
        ("\"e\":28", "\"e\":29", "exponent e"),
        ("\"omega_max\":1000", "\"omega_max\":0", "omega_max"),
        ("\"omega_max\":1000", "\"omega_max\":900000000", "omega_max"),
        ("[1,2,3,4,5]", "[1,2,3,5,4]", "participants"),
        ("[1,2,3,4,5]", "[1,2,3,3,4]", "participants"),
        ("\"d\":4", "\"d\":0", "dimension d"),
        ("\"v\":\"FLSA1\"", "\"v\":\"FLSA0\"", "version"),
        ("\"C\":1.0", "\"C\":0.0", "clip C"),
    ] {
        let changed = sound.replacen(old, new, 1);
        assert_ne!(changed, sound, "{old}");
        let error = Manifest::from_bytes(changed.into_bytes()).unwrap_err();
        assert!(matches!(&error, ManifestError::Value { field: found, .. } if *found == field), "{error}");
    }
    for text in ["", "[]", "{\"v\":\"FLSA1\"}", "\u{0}"] {
        assert!(matches!(Manifest::from_bytes(text.into()), Err(ManifestError::Unreadable(_))));
    }
    let unknown = sound.replacen('{', "{\"extra\":1,", 1);
    assert!(matches!(Manifest::from_bytes(unknown.into_bytes()), Err(ManifestError::Unreadable(_))));
}

/// A step that is not the next one changes nothing.
#[test]
fn messages_at_the_wrong_time_change_nothing() {
    let (consortium, mut session, mut standings, said) = honest(4, 0);
    let identity = &consortium.identities[&id(1)];
    let node = session.nodes.get_mut(&id(1)).unwrap();
    let mut words = session.words[&id(1)].clone();
    assert_eq!(node.mask(&said.shares, &mut words, identity), Err(Abort::OutOfTurn));
    assert_eq!(node.agree(&said.survivors, identity), Err(Abort::OutOfTurn));
    let standing = standings.get_mut(&id(1)).unwrap();
    assert_eq!(node.unmask(&said.agreements, standing), Err(Abort::OutOfTurn));
    assert!(node.share(&said.advertisements, identity).is_ok());
    assert_eq!(node.share(&said.advertisements, identity), Err(Abort::OutOfTurn));
    assert_eq!(session.coordinator.finish().err(), Some(CoordinationError::OutOfTurn));
    assert_eq!(session.coordinator.close_masking().err(), Some(CoordinationError::OutOfTurn));
}
