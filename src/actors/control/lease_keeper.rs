//! LeaseKeeper: renews the leases of the store and of Redis, and reports when another process has one.
//!
//! owns   a `domain::followers::lease::Tenure` for each lease, one interval
//! hears  nothing
//! says   AnotherWriter, SoleWriter, LeaseUnrenewable, LeaseRenewed → Root · LeaseView → views
//! fails  a panic restarts it from fresh state: the leases go on meanwhile, and each write is fenced by its lease

use crate::actors::messages::Report;
use crate::actors::repeat::RepeatEvery;
use crate::actors::services::Services;
use crate::actors::views::LeaseView;
use crate::clock::Stopwatch;
use crate::domain::followers::lease::{AnotherWriter, Answer, Holder, Place, Standing, Tenure};
use crate::limits;
use actix::fut::wrap_future;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, Supervised};
use std::time::Duration;

/// One lease.
#[derive(Debug)]
struct Kept {
    tenure: Tenure,
    view: LeaseView,
    asked: Stopwatch,
    answered: Stopwatch,
    asking: bool,
    /// The other writer that was last reported to Root.
    told: Option<Holder>,
    /// It is the lease of a leader, who is succeeded when it runs out.
    leaders: bool,
    /// Root was told that it is not renewed.
    told_unrenewable: bool,
}

/// See the module.
#[derive(Debug)]
pub struct LeaseKeeper {
    services: Services,
    leases: Vec<Kept>,
}

impl LeaseKeeper {
    /// Not started yet.
    pub fn new(services: Services) -> Self {
        let redis = services.cache.streams().map(|_| Place::Redis);
        let places = [Some(services.store.place()), redis];
        Self {
            leases: places
                .into_iter()
                .flatten()
                .map(|place| Kept::new(place, place == Place::Database && services.store.is_leaders()))
                .collect(),
            services,
        }
    }

    fn request_leases(&mut self, ctx: &mut Context<Self>) {
        for (at, kept) in self.leases.iter_mut().enumerate() {
            kept.tell(&self.services.root);
            kept.tell_renewal(&self.services.root);
            if std::mem::replace(&mut kept.asking, true) {
                continue; // the server is slow; there is a limit to that
            }
            kept.asked = Stopwatch::start();
            let place = kept.view.place;
            let store = self.services.store.clone();
            let cache = self.services.cache.clone();
            let asking = async move {
                match place {
                    Place::Redis => cache.renew_lease().await.map_err(|error| error.to_string()),
                    Place::Database | Place::StoreFile => store.renew_lease().await.map_err(|error| error.to_string()),
                }
            };
            ctx.spawn(wrap_future::<_, Self>(asking).map(move |answer, actor, _| {
                if let Some(kept) = actor.leases.get_mut(at) {
                    let since_last = kept.answered.elapsed();
                    kept.answered = Stopwatch::start();
                    kept.heard(answer, since_last);
                    kept.tell(&actor.services.root);
                    kept.tell_renewal(&actor.services.root);
                }
                actor.show();
            }));
        }
        self.show();
    }

    fn show(&self) {
        self.services
            .views
            .leases
            .send_replace(self.leases.iter().map(|kept| kept.view.clone()).collect());
    }
}

impl Kept {
    fn new(place: Place, leaders: bool) -> Self {
        let ttl = if leaders { limits::LEADER_TTL } else { limits::LEASE_TTL };
        Self {
            tenure: Tenure::default(),
            view: LeaseView {
                ttl,
                ..LeaseView::new(place)
            },
            asked: Stopwatch::start(),
            answered: Stopwatch::start(),
            asking: false,
            told: None,
            leaders,
            told_unrenewable: false,
        }
    }

    fn heard(&mut self, answer: Result<Answer, String>, since_last: Duration) {
        self.asking = false;
        match answer {
            Ok(answer) => {
                if matches!(answer, Answer::Granted(_)) {
                    self.view.renewed = Some(self.asked);
                }
                self.tenure.on(answer, since_last);
                self.view.standing = self.tenure.standing().clone();
                self.view.trouble = None;
            }
            Err(trouble) => self.view.trouble = Some(trouble),
        }
    }

    /// Reports news to Root; a report that a full mailbox refuses is sent again with the next check.
    fn tell(&mut self, up: &Recipient<Report>) {
        let place = self.view.place;
        let (report, told) = match &self.view.standing {
            Standing::Lost(by) if self.told.as_ref() != Some(by) => {
                let by = Some(by.clone());
                (Report::AnotherWriter(AnotherWriter { place, by: by.clone() }), by)
            }
            Standing::Held { .. } if self.told.is_some() => (Report::SoleWriter(place), None),
            _ => return,
        };
        if up.try_send(report).is_ok() {
            self.told = told;
        }
    }

    /// Why the lease of a leader may have run out by now, though nobody else is known to have it.
    fn unrenewable(&self) -> Option<&str> {
        let old = self
            .view
            .renewed
            .as_ref()
            .is_none_or(|renewed| renewed.elapsed() > self.view.ttl);
        let trouble = self.view.trouble.as_deref();
        trouble.filter(|_| self.leaders && self.view.is_held() && old)
    }

    /// Reports to Root that the lease is not renewed, and that it is again.
    fn tell_renewal(&mut self, up: &Recipient<Report>) {
        let report = match (self.unrenewable(), self.told_unrenewable) {
            (Some(cause), false) => Report::LeaseUnrenewable {
                cause: cause.to_owned(),
            },
            (None, true) => Report::LeaseRenewed,
            _ => return,
        };
        if up.try_send(report).is_ok() {
            self.told_unrenewable = !self.told_unrenewable;
        }
    }
}

impl Actor for LeaseKeeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.request_leases(ctx);
        ctx.repeat_every(limits::LEASE_RENEW, Self::request_leases);
    }
}

impl Supervised for LeaseKeeper {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.services.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Timestamp;

    #[actix_rt::test]
    async fn a_lease_that_is_not_renewed_for_as_long_as_it_lasts_is_reported_once_and_so_is_its_end() {
        let (up, mut reports) = crate::actors::testing::listen();
        let mut lease = kept();
        let away = || Err("connection refused".to_owned());
        lease.heard(Ok(Answer::Granted(2)), limits::LEASE_RENEW);
        lease.heard(away(), limits::LEASE_RENEW);
        lease.tell_renewal(&up);
        assert!(
            crate::actors::testing::heard(&mut reports).await.is_empty(),
            "it still runs"
        );
        lease.view.renewed = None; // as when it was renewed last longer ago than it lasts
        lease.tell_renewal(&up);
        lease.tell_renewal(&up);
        lease.heard(Ok(Answer::Granted(2)), limits::LEASE_RENEW);
        lease.tell_renewal(&up);
        lease.tell_renewal(&up);
        let said = crate::actors::testing::heard(&mut reports).await;
        assert!(
            matches!(said.as_slice(), [Report::LeaseUnrenewable { cause }, Report::LeaseRenewed] if cause == "connection refused"),
            "{said:?}"
        );
        lease.leaders = false;
        lease.heard(away(), limits::LEASE_RENEW);
        lease.view.renewed = None;
        lease.tell_renewal(&up);
        assert!(
            crate::actors::testing::heard(&mut reports).await.is_empty(),
            "a single node has no successor"
        );
    }

    fn kept() -> Kept {
        Kept {
            asking: true,
            ..Kept::new(Place::Database, true)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_sound_for_as_long_as_it_is_granted_and_a_leader_s_is_granted_for_less() {
        for (leaders, granted) in [(true, limits::LEADER_TTL), (false, limits::LEASE_TTL)] {
            let mut lease = Kept::new(Place::Database, leaders);
            lease.asked = Stopwatch::start();
            lease.heard(Ok(Answer::Granted(2)), limits::LEASE_RENEW);
            tokio::time::advance(granted).await;
            assert!(lease.view.is_sound(), "leaders: {leaders}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!lease.view.is_sound(), "leaders: {leaders}: another may have it");
        }
    }

    #[test]
    fn what_is_not_known_of_a_lease_is_not_sound_but_for_a_server_that_does_not_answer() {
        let mut lease = kept();
        assert!(!lease.view.is_sound(), "nobody has answered yet");
        lease.heard(Err("connection refused".to_owned()), limits::LEASE_RENEW);
        assert!(lease.view.is_sound(), "where nobody answers nobody takes it");
        lease.heard(Ok(Answer::Granted(2)), limits::LEASE_RENEW);
        assert!(lease.view.is_sound());
        lease.view.renewed = None; // as after a pause that was longer than the lease
        assert!(!lease.view.is_sound());
        let by = Holder {
            id: "folder".to_owned(),
            host: "trading-1".to_owned(),
            pid: 7,
            since: Timestamp::from_secs(1),
        };
        for left in [1_000, 4_000] {
            let (by, left) = (by.clone(), Duration::from_millis(left));
            lease.heard(
                Ok(Answer::Held(crate::domain::followers::lease::Held { by, left })),
                limits::LEASE_RENEW,
            );
            assert!(!lease.view.is_sound(), "{:?}", lease.view.standing);
        }
        assert_eq!(lease.view.standing, Standing::Lost(by));
        lease.heard(Err("connection refused".to_owned()), limits::LEASE_RENEW);
        assert!(!lease.view.is_sound(), "another was seen there");
    }
}
