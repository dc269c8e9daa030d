//! What a pod's worker tells others: its status, events, and where logs are.

use super::{Shown, Worker};
use crate::pod::Now;
use crate::pod::state::{HoldReason, Stage};
use crate::pod::status::{Surroundings, status};
use euston_client::EventType;
use std::time::Duration;

impl Worker {
    /// Says it once per wait, which begins in this very moment or did a moment ago.
    pub(super) fn note_waits(&mut self, now: Now) {
        for index in 0..self.desire.containers.len() {
            let desired = &self.desire.containers[index];
            let Stage::Held(hold) = &self.observed.containers[index].stage else {
                continue;
            };
            if self.noted[index] == Some(hold.since) {
                continue;
            }
            let message = match hold.why {
                HoldReason::ImagePull if hold.reason(now.mono) == "ImagePullBackOff" => {
                    format!("Back-off pulling image {:?}", desired.image)
                }
                HoldReason::Crash => format!(
                    "Back-off restarting failed container {} in pod {}_{}({})",
                    desired.name, self.id.name, self.id.namespace, self.id.uid
                ),
                _ => continue,
            };
            self.noted[index] = Some(hold.since);
            self.event(EventType::Warning, "BackOff", message);
        }
    }

    /// Sends the status if it changed; returns when a status that is held back is due.
    pub(super) fn report(&mut self, now: Now) -> Option<Duration> {
        let around = Surroundings {
            host_ip: self.node.host_ip.clone(),
            generation: self.pod.metadata.generation,
            conditions: self.conditions.clone(),
            readiness_gates: self
                .pod
                .spec
                .iter()
                .flat_map(|spec| spec.readiness_gates.iter().flatten())
                .map(|gate| gate.condition_type.clone())
                .collect(),
        };
        let status = status(&self.desire, &self.observed, &around, now);
        if self.reported.as_ref() == Some(&status) {
            return None;
        }
        let nothing_yet = self.observed.containers.iter().all(|view| {
            matches!(view.stage, Stage::Waiting | Stage::Starting) && view.last.is_none()
        }) && self.observed.ending.is_none();
        match self.hold_report {
            Some(until) if nothing_yet && now.mono < until => return Some(until),
            _ => self.hold_report = None,
        }
        // Ours replace the old ones; those of others (PodScheduled, readiness gates) are the API's.
        let ours = status.conditions.clone().unwrap_or_default();
        let api = self
            .pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone());
        self.conditions = api.unwrap_or_default();
        self.conditions
            .retain(|old| !ours.iter().any(|new| new.type_ == old.type_));
        self.conditions.extend(ours);
        self.node.statuses.submit(&self.id, status.clone());
        self.reported = Some(status);
        None
    }

    pub(super) fn event(&self, type_: EventType, reason: &str, message: impl Into<String>) {
        self.node.events.event(&self.about, type_, reason, message);
    }

    pub(super) fn show(&self) {
        let logs = self
            .desire
            .containers
            .iter()
            .zip(&self.observed.containers)
            .zip(&self.running)
            .map(|((desired, view), running)| {
                let log = running.as_ref().map(|running| running.log.clone());
                (desired.name.clone(), view.restarts, log)
            })
            .collect();
        let names = self.desire.containers.iter().map(|desired| &desired.name);
        let live = names
            .zip(&self.running)
            .filter_map(|(name, running)| Some((name.clone(), running.as_ref()?.live.clone())))
            .collect();
        let ip = self.observed.ip;
        self.shown.send_replace(Shown { logs, live, ip });
    }
}
