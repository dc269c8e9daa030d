//! The numbers of a rolling update: how far each ReplicaSet may grow or shrink now. Pure.
//!
//! Follows `pkg/controller/deployment/{rolling,sync}.go` and `util/deployment_util.go` of Kubernetes.

use euston_api::int_or_percent::scaled;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::revision::{DESIRED_REPLICAS, MAX_REPLICAS, annotation};

/// The deployment's wanted number of pods; the API server defaults it to 1.
pub(super) fn desired(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1).max(0)
}

/// A ReplicaSet's wanted number of pods.
pub(super) fn size(rs: &ReplicaSet) -> i32 {
    rs.spec.replicas.unwrap_or(1).max(0)
}

pub(super) fn available(rs: &ReplicaSet) -> i32 {
    rs.status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or_default()
}

pub(super) fn total<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i32 {
    sets.into_iter().map(size).fold(0, i32::saturating_add)
}

pub(super) fn is_rolling(deployment: &Deployment) -> bool {
    let type_ = deployment
        .spec
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref());
    type_.is_none_or(|type_| type_ == "RollingUpdate")
}

/// (surge, unavailable) as numbers of pods: surge rounded up, unavailable down, and not both 0,
/// since an update could then never begin.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let update = deployment
        .spec
        .strategy
        .as_ref()
        .and_then(|strategy| strategy.rolling_update.as_ref());
    let desired = desired(deployment);
    // The API server defaults both; this is its default.
    let quarter = IntOrString::String("25%".to_owned());
    let part = |value: Option<&IntOrString>, up| {
        scaled(value.unwrap_or(&quarter), desired, up)
            .unwrap_or_default()
            .max(0)
    };
    let surge = part(update.and_then(|update| update.max_surge.as_ref()), true);
    let unavailable = part(
        update.and_then(|update| update.max_unavailable.as_ref()),
        false,
    );
    if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable)
    }
}

/// How many pods above the wanted number an update may have.
pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) {
        fenceposts(deployment).0
    } else {
        0
    }
}

/// How many pods below the wanted number may be available during an update.
pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    if !is_rolling(deployment) || desired(deployment) == 0 {
        return 0;
    }
    fenceposts(deployment).1.min(desired(deployment))
}

/// The size that the newest ReplicaSet (now `current`) may have, all together counting `all` pods.
pub(super) fn new_size(deployment: &Deployment, all: i32, current: i32) -> i32 {
    let desired = desired(deployment);
    if !is_rolling(deployment) {
        return desired;
    }
    let room = desired
        .saturating_add(max_surge(deployment))
        .saturating_sub(all);
    if room <= 0 {
        current
    } else {
        current.saturating_add(room.min(desired.saturating_sub(current)))
    }
}

/// New sizes of the old ReplicaSets of a rolling update, oldest first: pods that are not available
/// go first, then available ones as far as the wanted availability allows.
pub(super) fn shrink_old(
    deployment: &Deployment,
    old: &[ReplicaSet],
    new: Option<&ReplicaSet>,
) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(size).collect();
    if total(old) == 0 {
        return sizes;
    }
    let min_available = desired(deployment).saturating_sub(max_unavailable(deployment));
    let new_unavailable = new.map_or(0, |rs| size(rs).saturating_sub(available(rs)));
    let all = total(old).saturating_add(new.map_or(0, size));
    let mut may_go = all
        .saturating_sub(min_available)
        .saturating_sub(new_unavailable);
    if may_go <= 0 {
        return sizes;
    }
    for (rs, size) in old.iter().zip(&mut sizes) {
        if may_go <= 0 {
            break;
        }
        let unhealthy = size.saturating_sub(available(rs)).clamp(0, may_go);
        *size -= unhealthy;
        may_go -= unhealthy;
    }
    let available_now = old
        .iter()
        .chain(new)
        .map(available)
        .fold(0, i32::saturating_add);
    let mut spare = available_now.saturating_sub(min_available);
    for size in &mut sizes {
        if spare <= 0 {
            break;
        }
        let less = (*size).min(spare);
        *size -= less;
        spare -= less;
    }
    sizes
}

/// New sizes of several active ReplicaSets when the deployment itself is scaled in mid-update: each
/// grows or shrinks in proportion, the largest takes what rounding leaves over.
pub(super) fn scale_proportionally(deployment: &Deployment, sets: &[&ReplicaSet]) -> Vec<i32> {
    let desired = desired(deployment);
    let allowed = if desired > 0 {
        desired.saturating_add(max_surge(deployment))
    } else {
        0
    };
    let to_add = allowed.saturating_sub(total(sets.iter().copied()));
    let mut sizes: Vec<i32> = sets.iter().map(|rs| size(rs)).collect();
    if to_add == 0 {
        return sizes;
    }
    // Largest first; of equal ones the newer is scaled up first, the older scaled down first.
    let mut order: Vec<usize> = (0..sets.len()).collect();
    order.sort_by(|&a, &b| {
        let age = super::revision::by_creation(sets[a], sets[b]);
        size(sets[b])
            .cmp(&size(sets[a]))
            .then(if to_add > 0 { age.reverse() } else { age })
    });
    let mut added = 0;
    for &i in &order {
        let share = share(deployment, sets[i], to_add, added);
        sizes[i] += share;
        added += share;
    }
    if let Some(&largest) = order.first() {
        sizes[largest] = (sizes[largest] + (to_add - added)).max(0);
    }
    sizes
}

fn share(deployment: &Deployment, rs: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if size(rs) == 0 || to_add == added {
        return 0;
    }
    let fraction = fraction(deployment, rs);
    let left = to_add - added;
    if to_add > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}

/// By how much `rs` would change if the deployment's new bound were spread as its old one was.
fn fraction(deployment: &Deployment, rs: &ReplicaSet) -> i32 {
    if desired(deployment) == 0 {
        return -size(rs);
    }
    let now = i64::from(desired(deployment)) + i64::from(max_surge(deployment));
    let noted = annotation(&rs.metadata, MAX_REPLICAS)
        .and_then(|max| max.parse::<i64>().ok())
        .filter(|max| *max > 0);
    let before = noted.unwrap_or_else(|| {
        deployment
            .status
            .as_ref()
            .and_then(|status| status.replicas)
            .map(i64::from)
            .unwrap_or_default()
    });
    if before <= 0 {
        return 0;
    }
    // Rounded half away from zero, in whole numbers; all are positive here.
    let scaled = (i64::from(size(rs)) * now * 2 + before) / (before * 2);
    i32::try_from(scaled)
        .unwrap_or(i32::MAX)
        .saturating_sub(size(rs))
}

/// Whether the deployment's wanted number differs from the one its active ReplicaSets were last
/// scaled for: then this is a scaling, not a rollout.
pub(super) fn is_scaling(deployment: &Deployment, sets: &[&ReplicaSet]) -> bool {
    sets.iter().filter(|rs| size(rs) > 0).any(|rs| {
        annotation(&rs.metadata, DESIRED_REPLICAS)
            .and_then(|noted| noted.parse::<i32>().ok())
            .is_some_and(|noted| noted != desired(deployment))
    })
}

/// Whether the newest ReplicaSet alone already carries the deployment.
pub(super) fn is_saturated(deployment: &Deployment, new: Option<&ReplicaSet>) -> bool {
    let Some(rs) = new else { return false };
    let desired = desired(deployment);
    let noted =
        annotation(&rs.metadata, DESIRED_REPLICAS).and_then(|noted| noted.parse::<i32>().ok());
    size(rs) == desired && noted == Some(desired) && available(rs) == desired
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn deployment(replicas: i32, surge: Value, unavailable: Value) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"name": "web"},
            "spec": {
                "replicas": replicas, "selector": {}, "template": {},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}},
            },
        }))
        .unwrap()
    }

    fn recreate(replicas: i32) -> Deployment {
        let mut d = deployment(replicas, json!(1), json!(1));
        d.spec.strategy.as_mut().unwrap().type_ = Some("Recreate".into());
        d
    }

    /// A ReplicaSet of `size` pods of which `available` are available, noted for at most `max`.
    fn set(size: i32, available: i32, max: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "rs", "annotations": {MAX_REPLICAS: max.to_string()}},
            "spec": {"replicas": size, "selector": {}},
            "status": {"replicas": size, "availableReplicas": available},
        }))
        .unwrap()
    }

    #[test]
    fn surge_rounds_up_and_unavailable_down() {
        for (replicas, surge, unavailable, expect) in [
            (10, json!(3), json!(2), (3, 2)),
            (10, json!("25%"), json!("25%"), (3, 2)),
            (4, json!("25%"), json!("25%"), (1, 1)),
            (3, json!("25%"), json!("25%"), (1, 0)),
            (1, json!("25%"), json!("25%"), (1, 0)),
            (0, json!("25%"), json!("25%"), (0, 0)),
            (5, json!(0), json!(0), (0, 1)),
            (3, json!(0), json!("10%"), (0, 1)),
            (2, json!(0), json!(9), (0, 2)),
            (10, json!("100%"), json!(0), (10, 0)),
            (1000, json!("1%"), json!("1%"), (10, 10)),
            (7, json!("50%"), json!("50%"), (4, 3)),
            (5, json!("bad"), json!("bad"), (0, 1)),
        ] {
            let d = deployment(replicas, surge.clone(), unavailable.clone());
            assert_eq!(
                (max_surge(&d), max_unavailable(&d)),
                expect,
                "{replicas} {surge} {unavailable}"
            );
        }
        assert_eq!(
            (max_surge(&recreate(5)), max_unavailable(&recreate(5))),
            (0, 0)
        );
    }

    #[test]
    fn the_new_set_grows_into_the_room_there_is() {
        // (desired, surge, all pods, its size) -> its new size
        for (replicas, surge, all, current, expect) in [
            (10, 3, 0, 0, 10),
            (10, 3, 10, 0, 3),
            (10, 3, 13, 3, 3),
            (10, 3, 12, 3, 4),
            (10, 3, 11, 8, 10),
            (10, 0, 10, 0, 0),
            (10, 0, 8, 0, 2),
            (10, 10, 10, 0, 10),
            (1, 1, 1, 0, 1),
            (10, 3, 50, 7, 7),
        ] {
            let d = deployment(replicas, json!(surge), json!(1));
            assert_eq!(
                new_size(&d, all, current),
                expect,
                "{replicas} {surge} {all} {current}"
            );
        }
        assert_eq!(new_size(&recreate(5), 3, 0), 5);
    }

    #[test]
    fn old_sets_shrink_only_as_far_as_availability_allows() {
        // (desired, unavailable, old sets (size, available), new set) -> sizes of the old sets
        for (replicas, unavailable, old, new, expect) in [
            (10, 0, vec![(10, 10)], (3, 0), vec![10]),
            (10, 2, vec![(10, 10)], (3, 0), vec![8]),
            (10, 2, vec![(10, 10)], (0, 0), vec![8]),
            (10, 0, vec![(10, 10)], (3, 3), vec![7]),
            (10, 0, vec![(10, 10)], (3, 2), vec![8]),
            (10, 2, vec![(8, 8)], (5, 3), vec![5]),
            (10, 0, vec![(10, 4)], (3, 0), vec![10]),
            // Pods that serve nobody go first, whatever set they are in.
            (10, 5, vec![(10, 5)], (0, 0), vec![5]),
            (10, 2, vec![(4, 0), (8, 8)], (0, 0), vec![0, 8]),
            (10, 2, vec![(3, 3), (7, 7)], (2, 2), vec![0, 6]),
            (10, 2, vec![(0, 0), (0, 0)], (10, 10), vec![0, 0]),
            (1, 0, vec![(1, 1)], (1, 0), vec![1]),
            (1, 0, vec![(1, 1)], (1, 1), vec![0]),
            (3, 3, vec![(3, 3)], (0, 0), vec![0]),
            (0, 0, vec![(3, 3)], (0, 0), vec![0]),
        ] {
            let d = deployment(replicas, json!(1), json!(unavailable));
            let sets: Vec<_> = old
                .iter()
                .map(|&(size, available)| set(size, available, 0))
                .collect();
            let new_set = set(new.0, new.1, 0);
            let got = shrink_old(&d, &sets, Some(&new_set));
            assert_eq!(got, expect, "{replicas} {unavailable} {old:?} {new:?}");
        }
    }

    #[test]
    fn no_step_leaves_less_available_than_promised_or_more_than_allowed() {
        for replicas in 0..=9 {
            for surge in 0..=3 {
                for unavailable in 0..=3 {
                    let d = deployment(replicas, json!(surge), json!(unavailable));
                    check_rollout(&d);
                }
            }
        }
    }

    /// Plays a whole rolling update in which pods become available one at a time.
    fn check_rollout(d: &Deployment) {
        let desired = desired(d);
        let (mut old, mut new) = (set(desired, desired, 0), set(0, 0, 0));
        for step in 0.. {
            assert!(step < 200, "the update of {desired} never ends");
            let grown = new_size(d, size(&old) + size(&new), size(&new));
            if grown != size(&new) {
                new.spec.replicas = Some(grown);
            } else {
                let less = shrink_old(d, std::slice::from_ref(&old), Some(&new))[0];
                old.spec.replicas = Some(less);
                // Pods that were asked to go are gone from the count at once: the worst case.
                old.status.as_mut().unwrap().available_replicas = Some(available(&old).min(less));
            }
            assert!(size(&old) + size(&new) <= desired + max_surge(d));
            assert!(available(&old) + available(&new) >= desired - max_unavailable(d));
            let up = (available(&new) + 1).min(size(&new));
            new.status.as_mut().unwrap().available_replicas = Some(up);
            if size(&old) == 0 && available(&new) == desired {
                break;
            }
        }
    }

    #[test]
    fn scaling_in_mid_update_keeps_the_proportions() {
        // (desired, surge, sets (size, noted max)) -> sizes
        for (replicas, surge, sets, expect) in [
            (10, 3, vec![(8, 13), (5, 13)], vec![8, 5]),
            (15, 3, vec![(8, 13), (5, 13)], vec![11, 7]),
            (5, 0, vec![(5, 10), (5, 10)], vec![2, 3]),
            (20, 0, vec![(5, 10), (5, 10)], vec![10, 10]),
            (0, 3, vec![(8, 13), (5, 13)], vec![0, 0]),
            (10, 0, vec![(1, 5), (2, 5), (2, 5)], vec![2, 4, 4]),
            (12, 0, vec![(3, 10), (7, 10)], vec![4, 8]),
            (6, 0, vec![(3, 0), (3, 0)], vec![3, 3]),
        ] {
            let d = deployment(replicas, json!(surge), json!(0));
            let sets: Vec<_> = sets
                .iter()
                .map(|&(size, max)| set(size, size, max))
                .collect();
            let sets: Vec<&ReplicaSet> = sets.iter().collect();
            let got = scale_proportionally(&d, &sets);
            assert_eq!(got, expect, "to {replicas}");
            let most = if replicas == 0 {
                0
            } else {
                replicas + max_surge(&d)
            };
            assert!(got.iter().sum::<i32>() <= most);
        }
    }
}
