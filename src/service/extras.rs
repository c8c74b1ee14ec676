//! What few requests have: [`Extras`].

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tokio::sync::watch;
use tokio::time::Instant;

use super::admission::Waits;
use super::classify::Classifier;
use super::deadline::Expired;
use super::exchange::Exchange;
use super::local_reply::LocalReply;
use super::mirror_body::{self, MirrorBody, MirrorSlot, Tap};
use super::request_policy::Asks;
use super::saved_head::SavedHead;
use crate::route::{CorsGrant, Steering};
use crate::upstream::{Cluster, Original};

/// What few requests have, apart so that the others are light.
#[derive(Debug, Default)]
pub(super) struct Extras {
    mirrors: Vec<MirrorTarget>,
    /// Where it leads by itself, if a cluster passes through.
    pub(super) original: Option<Original>,
    /// Cookies that keep the client with its endpoint.
    pub(super) set_cookies: Vec<HeaderValue>,
    pub(super) grant: Option<CorsGrant>,
    classifier: Option<Classifier>,
    pub(super) asks: Asks,
    /// What a rule answers that sends nothing on, while a fault holds it back.
    pub(super) reply: Option<LocalReply>,
    /// Whether a timeout is answered 204.
    no_content_for_timeout: bool,
    /// When it came, if a header says that.
    started: Option<Instant>,
}

/// A cluster that gets a copy of the request.
#[derive(Debug)]
pub(super) struct MirrorTarget {
    pub(super) cluster: Arc<Cluster>,
    pub(super) slot: MirrorSlot,
    /// Whether its host gets the suffix of copies.
    pub(super) suffixed: bool,
    /// The versions of the mesh, which end with it.
    pub(super) published: watch::Receiver<u64>,
    /// Its copy of the body, if there is one.
    pub(super) body: Option<MirrorBody>,
    /// Whether what it is sent through may have it wait where the cluster admits no more.
    pub(super) waits: Arc<Waits>,
}

impl Exchange {
    pub(super) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// The clusters that get a copy.
    pub(super) fn mirrors(&self) -> &[MirrorTarget] {
        self.extras.as_ref().map_or(&[], |extras| &extras.mirrors)
    }

    pub(super) fn set_mirrors(&mut self, mirrors: Vec<MirrorTarget>) {
        if !mirrors.is_empty() {
            self.extras().mirrors = mirrors;
        }
    }

    /// Gives every mirror a copy of the body, which may have announced its length; what is returned feeds them.
    pub(super) fn copies(&mut self, length: Option<u64>) -> Vec<Tap> {
        let mirrors = self.extras.as_mut().map_or(&mut [][..], |extras| &mut extras.mirrors);
        let pairs = mirrors.iter_mut().map(|target| {
            let (tap, body) = mirror_body::copy(target.slot.load());
            target.body = Some(body);
            tap.announced(length)
        });
        pairs.collect()
    }

    /// The first try is made, and the copies that are due go with it: the service may read on before they are sent.
    pub(super) fn begin_copies(&self) {
        self.mirrors().iter().filter_map(|target| target.body.as_ref()).for_each(MirrorBody::begin);
    }

    /// Has the copies sent that are due, once.
    pub(super) fn send_mirrors(&mut self, send: impl Fn(&SavedHead, &Self, MirrorTarget)) {
        let Some(extras) = &mut self.extras else { return };
        let mirrors = std::mem::take(&mut extras.mirrors);
        if let Some(saved) = &self.saved {
            mirrors.into_iter().for_each(|target| send(saved, self, target));
        }
    }

    /// How long ago it came, if a header says that.
    pub(super) fn since_start(&self) -> Duration {
        let started = self.extras.as_ref().and_then(|extras| extras.started);
        started.map_or(Duration::ZERO, |started| started.elapsed())
    }

    /// Notes when it came.
    pub(super) fn start(&mut self) {
        let arrived = self.arrived();
        self.extras().started = Some(arrived);
    }

    /// Where it leads by itself, if a cluster passes through.
    pub(super) fn original(&self) -> Option<&Original> {
        self.extras.as_ref()?.original.as_ref()
    }

    /// Keeps what the application says about errors.
    pub(super) fn set_classifier(&mut self, classifier: Option<&Classifier>) {
        if let Some(classifier) = classifier {
            self.extras().classifier = Some(classifier.clone());
        }
    }

    /// What the application says about errors, if it says anything.
    pub(super) fn classifier(&self) -> Option<&Classifier> {
        self.extras.as_ref()?.classifier.as_ref()
    }

    pub(super) fn set_asks(&mut self, asks: Asks) {
        self.extras().asks = asks;
    }

    /// Obeys the headers of the rule; what the request asks for itself comes first.
    pub(super) fn steer(&mut self, steering: Steering) {
        let Steering { retry, no_content_for_timeout } = steering;
        if retry.is_some() || no_content_for_timeout {
            let extras = self.extras();
            extras.no_content_for_timeout = no_content_for_timeout;
            extras.asks.retry = extras.asks.retry.take().or(retry);
        }
    }

    /// The answer when time ran out.
    pub(super) fn expired(&self, expired: Expired) -> LocalReply {
        let no_content = self.extras.as_ref().is_some_and(|extras| extras.no_content_for_timeout);
        let reply = LocalReply::expired(expired);
        if no_content { reply.without_content() } else { reply }
    }

    /// Whether the request itself says that it may be sent more than once, or not.
    pub(super) fn idempotent(&self) -> Option<bool> {
        self.extras.as_ref()?.asks.idempotent
    }

    /// After how long without an answer a second try is sent beside the first, if that is asked for.
    pub(super) fn hedge(&self) -> Option<Duration> {
        self.extras.as_ref()?.asks.hedge
    }
}
