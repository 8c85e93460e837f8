//! Running behaviours: their ports, the specs of their objects, and the recorded requests.

use std::sync::Arc;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::artifact::Artifact;
use super::ask::Ask;
use super::behaviours::{AsksFor, Behaviour, Expected, Kind, Login};
use super::canary::Canary;
use super::place::{Known, Place};
use super::reply::Reply;
use super::server::{Manner, Port, Server};
use super::tls::{Authority, Certificate, Protocol};

/// Phase of a site. Only sites for which [`Site::can_behave`] holds leave [`Phase::Misbehaving`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Well-behaved registry with [`Site::earlier`].
    Before,
    /// Registry with the behaviour.
    Misbehaving,
    /// Well-behaved registry with [`Site::good`].
    Repaired,
}

/// Running behaviour; dropping it closes its ports.
#[derive(Debug)]
pub struct Site {
    pub behaviour: Behaviour,
    pub place: Place,
    /// Artifacts of the registry before and after it misbehaves.
    pub earlier: Artifact,
    pub good: Artifact,
    phase: watch::Sender<Phase>,
    pub registry: Server,
    /// Servers of the other port and the other host.
    pub elsewhere: [Server; 2],
}

impl Site {
    pub async fn open(behaviour: Behaviour, authority: &Authority) -> Result<Self> {
        let port = Port::take("127.0.0.1:0").await?;
        let elsewhere = [Port::take("127.0.0.1:0").await?, Port::take("127.0.0.2:0").await?];
        let [other_port, other_host] = elsewhere.each_ref().map(|port| port.address.to_string());
        let login = Known { user: behaviour.name.clone(), password: Canary::new(&behaviour.name)? };
        let confidence = Canary::new(&format!("{}, in confidence", behaviour.name))?;
        let good = Artifact::good(&format!("content of {}", behaviour.name))?;
        let earlier = Artifact::good(&format!("earlier content of {}", behaviour.name))?;
        let artifact = (behaviour.edit)(&good);
        let place = Place { address: port.address.to_string(), other_port, other_host, artifact, login, confidence };
        let at = place.clone();
        let (phase, current) = watch::channel(Phase::Misbehaving);
        let (manner, protocol) = match behaviour.kind.clone() {
            Kind::Http(script) => {
                let (earlier, good) = (earlier.clone(), good.clone());
                let script = move |ask: &Ask| {
                    let phase = *current.borrow();
                    match phase {
                        Phase::Before => earlier.answer(ask),
                        Phase::Misbehaving => script(ask, &at),
                        Phase::Repaired => good.answer(ask),
                    }
                };
                (Manner::Http(Arc::new(script)), Protocol::Http1)
            }
            Kind::Greets(reply) => (Manner::Greets(reply), Protocol::Http1),
            Kind::Frames(script) => {
                (Manner::Frames(Arc::new(move |request, stream| script(request, stream, &at))), Protocol::Http2)
            }
        };
        let tls = behaviour.certificate.map(|certificate| authority.acceptor(certificate, protocol)).transpose()?;
        let registry = port.serve(manner, tls);
        let elsewhere = elsewhere.map(|port| {
            let artifact = place.artifact.clone();
            port.serve(Manner::Http(Arc::new(move |ask| obliging(&artifact, ask))), None)
        });
        Ok(Self { behaviour, place, earlier, good, phase, registry, elsewhere })
    }

    /// Returns true if wrong replies about a good artifact make its object `Stalled`.
    pub fn misreports(&self) -> bool {
        let stalled = matches!(self.behaviour.expected, Expected::Refused(_, "Stalled"));
        stalled && self.place.artifact.manifest == self.good.manifest
    }

    /// Returns true if the site can be in another phase than [`Phase::Misbehaving`], and its object would notice.
    pub fn can_behave(&self) -> bool {
        let Behaviour { kind, certificate, plain_http, asks_for, .. } = &self.behaviour;
        let as_expected = *certificate == (!plain_http).then_some(Certificate::Good);
        matches!(kind, Kind::Http(_)) && as_expected && *asks_for != AsksFor::Digest
    }

    pub fn set_phase(&self, phase: Phase) {
        if self.can_behave() {
            self.phase.send_replace(phase);
        }
    }

    /// Returns the image reference of this site's artifact.
    pub fn image(&self) -> String {
        let repository = format!("{}/{}", self.place.address, self.behaviour.name);
        match self.behaviour.asks_for {
            AsksFor::Tag => format!("{repository}:1"),
            AsksFor::Digest => format!("{repository}@{}", self.place.artifact.digest()),
            AsksFor::Version => repository,
        }
    }

    /// Returns the spec of an object with a volume and a ConfigMap output. If the behaviour requires a login, the name
    /// of the Secret is the behaviour's name.
    pub fn spec(&self, interval: &str) -> Value {
        let Behaviour { name, login, timeout, plain_http, .. } = &self.behaviour;
        let secrets = if *login == Login::None { json!([]) } else { json!([{"name": name}]) };
        let mut spec = json!({
            "image": self.image(), "interval": interval, "timeout": timeout,
            "registry": {"plainHTTP": plain_http, "pullSecrets": secrets},
            "outputs": [
                {"name": "files", "volume": {"name": "default"}},
                {"name": "keys", "configMap": {"name": name}},
            ],
        });
        if self.behaviour.asks_for == AsksFor::Version
            && let Some(fields) = spec.as_object_mut()
        {
            fields.insert("semver".to_owned(), json!({"range": "*"}));
        }
        spec
    }

    /// Returns all requests to the other port and the other host.
    pub fn asked_elsewhere(&self) -> Vec<Ask> {
        self.elsewhere.iter().flat_map(|server| server.seen.asks()).collect()
    }

    pub fn connections_elsewhere(&self) -> u64 {
        self.elsewhere.iter().map(|server| server.seen.connections()).sum()
    }
}

/// Answers every request to the other port or host with success, so that a forbidden request there has an effect.
fn obliging(artifact: &Artifact, ask: &Ask) -> Reply {
    use super::ask::Item;
    match ask.item() {
        Item::Token => Reply::of("200 OK", &[("Content-Type", "application/json")], br#"{"token":"from-elsewhere"}"#),
        Item::Tags => Reply::of("200 OK", &[], br#"{"name":"x","tags":["9.9.9"]}"#),
        Item::Other => Reply::of("200 OK", &[("Set-Cookie", "elsewhere=1")], artifact.layer().1),
        Item::Tag(_) | Item::Manifest(_) | Item::Blob(_) => artifact.answer(ask),
    }
}
