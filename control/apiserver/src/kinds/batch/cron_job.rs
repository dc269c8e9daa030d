//! CronJob: Jobs at set times.

use euston_api::cron::{Schedule, is_time_zone};
use euston_api::field::{ErrorList, Path};
use euston_api::names::LABEL_BYTES_MAX;
use euston_api::selector::format_label_selector;
use euston_api::time::since_time;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus};
use serde_json::Value;

use super::job::validate_job_spec;
use crate::kinds::{cells, workload};
use crate::registry::strategy::{
    AGE, Column, NAME, Strategy, counts_spec_changes, keeps_status_apart,
};

const POLICIES: [&str; 3] = ["Allow", "Forbid", "Replace"];
const SUCCESSFUL_HISTORY: i32 = 3;
const FAILED_HISTORY: i32 = 1;
/// What a Job's name is longer than its CronJob's: a dash and the minute it is for.
const SUFFIX_BYTES: usize = 11;

/// The rules of CronJobs.
pub struct CronJobStrategy;

impl Strategy for CronJobStrategy {
    type Object = CronJob;

    fn default(&self, cron_job: &mut CronJob) {
        let spec = &mut cron_job.spec;
        if spec.concurrency_policy.as_deref().is_none_or(str::is_empty) {
            spec.concurrency_policy = Some("Allow".to_owned());
        }
        spec.suspend.get_or_insert(false);
        let (done, failed) = (
            &mut spec.successful_jobs_history_limit,
            &mut spec.failed_jobs_history_limit,
        );
        done.get_or_insert(SUCCESSFUL_HISTORY);
        failed.get_or_insert(FAILED_HISTORY);
        // Its own defaults a Job gets when it is made.
        let job = spec.job_template.spec.get_or_insert_default();
        workload::default_template(&mut job.template);
    }

    fn prepare_for_create(&self, cron_job: &mut CronJob) {
        cron_job.status = Some(CronJobStatus::default());
    }

    fn validate(&self, cron_job: &CronJob) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = &cron_job.spec;
        let path = Path::new("spec");
        let here = path.child("schedule");
        if spec.schedule.is_empty() {
            errors.required(here, "");
        } else if let Err(why) = Schedule::parse(&spec.schedule) {
            errors.invalid(here, &spec.schedule, why);
        }
        if let Some(seconds) = spec.starting_deadline_seconds {
            errors.non_negative(path.child("startingDeadlineSeconds"), seconds);
        }
        let here = path.child("concurrencyPolicy");
        match spec.concurrency_policy.as_deref().unwrap_or_default() {
            "" => errors.required(here, ""),
            policy if !POLICIES.contains(&policy) => errors.not_supported(here, policy, &POLICIES),
            _ => {}
        }
        validate_job_template(spec, &path.child("jobTemplate"), &mut errors);
        let limits = [
            (
                "successfulJobsHistoryLimit",
                spec.successful_jobs_history_limit,
            ),
            ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
        ];
        for (field, limit) in limits {
            errors.non_negative(path.child(field), limit.unwrap_or_default().into());
        }
        errors
    }

    fn validate_create(&self, cron_job: &CronJob) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_zone_in_schedule(&cron_job.spec, false, &mut errors);
        validate_time_zone(cron_job.spec.time_zone.as_deref(), &mut errors);
        let name = cron_job.metadata.name.as_deref().unwrap_or_default();
        let max = LABEL_BYTES_MAX - SUFFIX_BYTES;
        if name.len() > max {
            let rule = format!("must be no more than {max} characters");
            errors.invalid(Path::new("metadata").child("name"), name, rule);
        }
        errors
    }

    keeps_status_apart!();

    fn validate_update(&self, new: &CronJob, old: &CronJob) -> ErrorList {
        let mut errors = ErrorList::new();
        let had_zone = old.spec.schedule.contains("TZ");
        validate_zone_in_schedule(&new.spec, had_zone, &mut errors);
        if new.spec.time_zone != old.spec.time_zone {
            validate_time_zone(new.spec.time_zone.as_deref(), &mut errors);
        }
        errors
    }

    counts_spec_changes!();

    fn warnings(&self, cron_job: &CronJob) -> Vec<String> {
        let job = cron_job.spec.job_template.spec.as_ref();
        let path = Path::new("spec").child("jobTemplate").child("spec");
        let mut warnings = workload::template_warnings(job.map(|j| &j.template), &path);
        if cron_job.spec.schedule.contains("TZ") {
            warnings.push(
                "spec.schedule: CRON_TZ or TZ used in spec.schedule is not officially supported, \
                 see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                    .to_owned(),
            );
        }
        warnings
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            NAME,
            Column::string("Schedule", "The schedule in Cron format."),
            Column::string("Timezone", "The time zone of the schedule."),
            Column::string("Suspend", "Whether further Jobs are held back."),
            Column::integer("Active", "Jobs that are running."),
            Column::string("Last Schedule", "When a Job was last due."),
            AGE,
            Column::string("Containers", "Names of each container in the template.").wide(),
            Column::string(
                "Images",
                "Images referenced by each container in the template.",
            )
            .wide(),
            Column::string("Selector", "Label selector for pods.").wide(),
        ];
        COLUMNS
    }

    fn row(&self, cron_job: &CronJob, now: Timestamp) -> Vec<Value> {
        let none = CronJobStatus::default();
        let spec = &cron_job.spec;
        let status = cron_job.status.as_ref().unwrap_or(&none);
        let last = &status.last_schedule_time;
        let last = last.as_ref().map(|last| since_time(Some(last), now));
        let job = spec.job_template.spec.as_ref();
        let [names, images] = cells::containers(workload::containers(job.map(|j| &j.template)));
        let selector = job
            .and_then(|j| j.selector.as_ref())
            .map(format_label_selector);
        vec![
            cells::name(&cron_job.metadata),
            spec.schedule.as_str().into(),
            cells::or_none(spec.time_zone.as_deref()),
            cells::truth(spec.suspend),
            status.active.as_ref().map_or(0, Vec::len).into(),
            cells::or_none(last.as_deref()),
            cells::age(&cron_job.metadata, now),
            names,
            images,
            cells::or_none(selector.as_deref()),
        ]
    }
}

/// A Job without the selector, which it gets when it is made.
fn validate_job_template(spec: &CronJobSpec, path: &Path, errors: &mut ErrorList) {
    let path = path.child("spec");
    let Some(job) = &spec.job_template.spec else {
        return errors.required(path, "");
    };
    validate_job_spec(job, &path, errors);
    if let Some(selector) = &job.selector {
        let rule = "`selector` will be auto-generated";
        errors.invalid(path.child("selector"), selector, rule);
    }
    if job.manual_selector == Some(true) {
        errors.not_supported(path.child("manualSelector"), true, &["nil", "false"]);
    }
}

/// A zone stands in its own field; in the schedule only if it `had` one there before.
fn validate_zone_in_schedule(spec: &CronJobSpec, had: bool, errors: &mut ErrorList) {
    if !spec.schedule.contains("TZ") {
        return;
    }
    let rule = match (had, &spec.time_zone) {
        (true, None) => return,
        (true, Some(_)) => "cannot use both timeZone field and TZ or CRON_TZ in schedule",
        (false, _) => "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
    };
    errors.invalid(Path::new("spec").child("schedule"), &spec.schedule, rule);
}

fn validate_time_zone(zone: Option<&str>, errors: &mut ErrorList) {
    let Some(zone) = zone else { return };
    let path = Path::new("spec").child("timeZone");
    if zone.is_empty() {
        return errors.invalid(path, zone, "timeZone must be nil or non-empty string");
    }
    if zone.eq_ignore_ascii_case("Local") {
        let rule =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path.clone(), zone, rule);
    }
    if !is_time_zone(zone) {
        errors.invalid(path, zone, format!("unknown time zone {zone}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::testing::{check_create, check_row, check_update, created, merged};
    use serde_json::json;

    fn cron_job(change: Value) -> Value {
        let base = json!({"metadata": {"name": "tick"}, "spec": {
            "schedule": "*/5 * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "OnFailure",
                "containers": [{"name": "a", "image": "tick:v1"}],
            }}}},
        }});
        merged(&base, &change)
    }

    fn check(spec: Value, expected: &[&str]) {
        check_create(&CronJobStrategy, &cron_job(json!({"spec": spec})), expected);
    }

    #[test]
    fn defaults() {
        let made = serde_json::to_value(created(&CronJobStrategy, &cron_job(json!({})))).unwrap();
        for (pointer, value) in [
            ("/spec/concurrencyPolicy", json!("Allow")),
            ("/spec/suspend", json!(false)),
            ("/spec/successfulJobsHistoryLimit", json!(3)),
            ("/spec/failedJobsHistoryLimit", json!(1)),
            (
                "/spec/jobTemplate/spec/template/spec/dnsPolicy",
                json!("ClusterFirst"),
            ),
        ] {
            assert_eq!(made.pointer(pointer), Some(&value), "{pointer}");
        }
        // What a Job gets when it is made.
        for field in ["backoffLimit", "completions", "selector", "suspend"] {
            assert_eq!(
                made["spec"]["jobTemplate"]["spec"].get(field),
                None,
                "{field}"
            );
        }
    }

    #[test]
    fn schedules_and_zones() {
        let schedule = |text: &str, expected: &[&str]| check(json!({"schedule": text}), expected);
        for good in [
            "0 0 * * *",
            "@every 1h",
            "@daily",
            "0 22 * * 1-5",
            "0-59/2 1,2 ? jan-mar sun",
        ] {
            schedule(good, &[]);
        }
        schedule("", &["spec.schedule: Required value"]);
        schedule(
            "error",
            &[
                "spec.schedule: Invalid value: \"error\": expected exactly 5 fields, found 1: [error]",
            ],
        );
        schedule(
            "0 0 32 * *",
            &[
                "spec.schedule: Invalid value: \"0 0 32 * *\": end of range (32) above maximum (31): 32",
            ],
        );
        schedule(
            "CRON_TZ=UTC 0 0 * * *",
            &[
                "spec.schedule: Invalid value: \"CRON_TZ=UTC 0 0 * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
            ],
        );
        let zone = |zone: &str, expected: &[&str]| check(json!({"timeZone": zone}), expected);
        zone("Europe/Berlin", &[]);
        zone("UTC", &[]);
        zone(
            "",
            &["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"],
        );
        zone(
            "Local",
            &[
                "spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone",
                "spec.timeZone: Invalid value: \"Local\": unknown time zone Local",
            ],
        );
        zone(
            "Continent/Zone",
            &["spec.timeZone: Invalid value: \"Continent/Zone\": unknown time zone Continent/Zone"],
        );
    }

    #[test]
    fn what_is_wrong_is_told_by_path() {
        check(json!({}), &[]);
        check(
            json!({"concurrencyPolicy": "Sometimes", "startingDeadlineSeconds": -1,
                   "successfulJobsHistoryLimit": -1, "failedJobsHistoryLimit": -1}),
            &[
                "spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.concurrencyPolicy: Unsupported value: \"Sometimes\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
                "spec.successfulJobsHistoryLimit: Invalid value: -1",
                "spec.failedJobsHistoryLimit: Invalid value: -1",
            ],
        );
        check(
            json!({"jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Always"}}}}}),
            &[
                "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            ],
        );
        check(
            json!({"jobTemplate": {"spec": {"selector": {"matchLabels": {"a": "b"}}, "manualSelector": true, "parallelism": -1}}}),
            &[
                "spec.jobTemplate.spec.parallelism: Invalid value: -1",
                "spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
            ],
        );
        let long = cron_job(json!({"metadata": {"name": "x".repeat(53)}}));
        check_create(
            &CronJobStrategy,
            &long,
            &["metadata.name: Invalid value: \"xxxxx"],
        );
        check_create(
            &CronJobStrategy,
            &cron_job(json!({"metadata": {"name": "x".repeat(52)}})),
            &[],
        );
    }

    #[test]
    fn what_was_let_in_before_stays() {
        let update = |old: Value, new: Value, expected: &[&str]| {
            let of = |spec: Value| cron_job(json!({"spec": spec}));
            check_update(&CronJobStrategy, &of(old), &of(new), expected);
        };
        let zoned = json!({"schedule": "TZ=UTC 0 0 * * *"});
        update(zoned.clone(), json!({"schedule": "TZ=UTC 1 0 * * *"}), &[]);
        update(
            zoned.clone(),
            json!({"schedule": "TZ=UTC 0 0 * * *", "timeZone": "UTC"}),
            &[
                "spec.schedule: Invalid value: \"TZ=UTC 0 0 * * *\": cannot use both timeZone field and TZ",
            ],
        );
        update(
            json!({}),
            zoned,
            &[
                "spec.schedule: Invalid value: \"TZ=UTC 0 0 * * *\": cannot use TZ or CRON_TZ in schedule",
            ],
        );
        let mars = json!({"timeZone": "Mars/Base"});
        update(mars.clone(), merged(&mars, &json!({"suspend": true})), &[]);
        update(
            json!({}),
            mars,
            &["spec.timeZone: Invalid value: \"Mars/Base\": unknown time zone Mars/Base"],
        );
    }

    #[test]
    fn its_row_tells_when() {
        let bare = cron_job(json!({"spec": {"suspend": null}}));
        check_row(
            &CronJobStrategy,
            &bare,
            100,
            &[
                ("Schedule", "*/5 * * * *"),
                ("Timezone", "<none>"),
                ("Suspend", "<unset>"),
                ("Active", "0"),
                ("Last Schedule", "<none>"),
                ("Selector", "<none>"),
            ],
        );
        let active = cron_job(json!({
            "spec": {"suspend": true, "timeZone": "UTC"},
            "status": {"active": [{"name": "tick-1"}], "lastScheduleTime": "1970-01-01T00:01:00Z"},
        }));
        check_row(
            &CronJobStrategy,
            &active,
            100,
            &[
                ("Timezone", "UTC"),
                ("Suspend", "True"),
                ("Active", "1"),
                ("Last Schedule", "40s"),
                ("Containers", "a"),
                ("Images", "tick:v1"),
            ],
        );
    }
}
