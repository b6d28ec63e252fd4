//! What a child does: a session of three sites, from wherever it stands to its end. One thread does all the work, so
//! operations have the same order in every life.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::path::Path;

use federation::*;
use transport::*;

use crate::mortal::{Kind, Mortal};
use crate::support::*;

/// Creates the session, or goes on with it.
pub(crate) fn live(mortal: &Mortal, out: &Path) -> Result<(), ServerError> {
    let machine = || Machine::on(Box::new(mortal.clone()));
    let mut server = match FederatedServer::open_on(machine(), out, id("s"), Box::new(Raw)) {
        Err(ServerError::Store(StoreError::NoSession { .. })) => {
            let config = config(2, "fedadam");
            FederatedServer::create_on(machine(), out, id("s"), &sites(), config, initial(), Box::new(Raw))?
        }
        other => other?,
    };
    if server.session().phase().is_over() {
        return Ok(());
    }
    let mut clients = BTreeMap::new();
    for client in good_clients() {
        let mut client = client.on(Box::new(mortal.clone()));
        let site = client.site().clone();
        client.join(out, server.session().id(), server.session().roster()).map_err(trouble_of(&site))?;
        clients.insert(site, client);
    }
    let mut outputs: VecDeque<Output> = server.step(&Input::Resume)?.unwrap_or_default().into();
    for site in sites() {
        if server.session().sites().get(&site) != Some(&true) {
            outputs.extend(taken(server.step(&Input::SiteJoined { site })?));
        }
    }
    if server.session().phase() == Phase::Initialising {
        outputs.extend(taken(server.step(&Input::Start)?));
    }
    while let Some(output) = outputs.pop_front() {
        let (Output::StartRound { site, .. } | Output::Evaluate { site, .. } | Output::Ask { site }) = &output else {
            continue;
        };
        let client = clients.get_mut(site).unwrap();
        let reply = mortal.deliver(Kind::Request, || reply(&server, client, &output));
        if let Some(input) = reply.map_err(trouble_of(site))? {
            outputs.extend(taken(mortal.deliver(Kind::Reply, || server.step(&input))?));
        }
    }
    assert_eq!(server.session().phase(), Phase::Completed, "nobody waits for anything");
    Ok(())
}

fn taken(answer: Result<Vec<Output>, Rejection>) -> Vec<Output> {
    answer.unwrap_or_else(|rejection| panic!("{rejection}"))
}

fn trouble_of(site: &SiteId) -> impl FnOnce(SiteError) -> ServerError {
    |source| ServerError::Site { site: site.clone(), source: Box::new(source) }
}

/// What the coordinator gets from a site for one of its outputs; nothing where the request is old.
fn reply(server: &FederatedServer, client: &mut FederatedClient, output: &Output) -> Result<Option<Input>, SiteError> {
    let global = server.global();
    let hyperparameters = &server.session().config().hyperparameters;
    let announcement = server.announcement().unwrap();
    let progress = &mut |_| ControlFlow::Continue(());
    Ok(match output.clone() {
        Output::StartRound { site, round } => {
            match client.train_round(global, &announcement, round, hyperparameters, progress)?.0 {
                Outcome::Ready { samples_at_most } => Some(Input::SiteTrained { site, round, samples_at_most }),
                Outcome::Sealed(_) => panic!("an update leaves without a mask"),
            }
        }
        Output::Evaluate { site, round } => {
            client.evaluate(global, &announcement, round, hyperparameters, progress)?;
            Some(Input::SiteEvaluated { site, round })
        }
        Output::Ask { site } => {
            let request = server.session().request(&site);
            let answer = request.map_or(Ok(None), |request| client.answer(request))?;
            answer.map(|(reply, words)| Input::Replied { site, reply, words })
        }
        _ => None,
    })
}
