//! CronJob: jobs at certain times.

use std::sync::Arc;

use base::clock::Wall;
use grammar::cron::{Schedule, Zone};
use grammar::field::ErrorList;
use serde_json::Value;

use crate::batch::job_spec;
use crate::check;
use crate::column::{self, AGE, NAME, described, documented};
use crate::kind::{Kind, Subresource, names as texts};
use crate::node::Node;
use crate::pod::Rules;
use crate::strategy::{Context, Generic, Strategy};
use crate::tree::{Tree, TreeMut};
use crate::workload;

/// Jobs append eleven characters to the name of their cron job.
const MAX_NAME: usize = 52;

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.batch.v1.CronJobSpec";
    const STATUS: &str = "io.k8s.api.batch.v1.CronJobStatus";
    Kind {
        short_names: texts(&["cj"]),
        categories: texts(&["all"]),
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["spec"]], Generic)],
        columns: vec![
            NAME,
            documented("Schedule", SPEC, "schedule"),
            documented("Timezone", SPEC, "timeZone"),
            documented("Suspend", SPEC, "suspend").boolean(),
            documented("Active", STATUS, "active").integer(),
            documented("Last Schedule", STATUS, "lastScheduleTime"),
            AGE,
            described("Containers", "Names of each container in the template.").wide(),
            described("Images", "Images referenced by each container in the template.").wide(),
            documented("Selector", "io.k8s.api.batch.v1.JobSpec", "selector").wide(),
        ],
        strategy: Arc::new(CronJob),
        ..Kind::namespaced("batch", "v1", "CronJob", "cronjobs")
    }
}

struct CronJob;

impl Strategy for CronJob {
    fn default(&self, _version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        spec.set_default("concurrencyPolicy", "Allow");
        spec.set_default("suspend", false);
        spec.set_default("successfulJobsHistoryLimit", 3);
        spec.set_default("failedJobsHistoryLimit", 1);
        job_spec::default(spec.at_mut("jobTemplate").at_mut("spec"));
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        job_spec::prepare(obj.at_mut("spec").at_mut("jobTemplate").at_mut("spec"), &Value::Null);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        let before = old.path(&["spec", "jobTemplate", "spec"]);
        job_spec::prepare(new.at_mut("spec").at_mut("jobTemplate").at_mut("spec"), before);
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(&obj.child("spec"), None, errs);
        let metadata = obj.child("metadata");
        let name = metadata.child("name");
        if name.str().len() > MAX_NAME {
            errs.push(name.invalid(format!("must be no more than {MAX_NAME} characters")));
        }
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate(&new.child("spec"), Some(old.at("spec")), errs);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let generation = |obj: &Value| obj.at("metadata").int("generation");
        let mut warnings = Vec::new();
        if old.is_none() {
            warnings.extend(workload::name_warning(new, "Pod names and hostnames"));
        }
        if old.is_none_or(|old| generation(old) != generation(new)) {
            let root = Node::root(new);
            let spec = root.child("spec");
            let template = spec.child("jobTemplate");
            warnings.extend(job_spec::warnings(&template.child("spec")));
        }
        if old.is_some() && new.at("spec").text("schedule").contains("TZ") {
            warnings.push(
                "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
                 https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                    .to_owned(),
            );
        }
        warnings
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let (spec, status) = (obj.at("spec"), obj.at("status"));
        let suspended = match spec.choice("suspend") {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        let last = match status.has("lastScheduleTime") {
            true => column::since(status.text("lastScheduleTime"), now),
            false => "<none>".to_owned(),
        };
        let job = spec.path(&["jobTemplate", "spec"]);
        let [containers, images] = column::containers_and_images(job.path(&["template", "spec"]));
        vec![
            column::name(obj),
            spec.text("schedule").into(),
            spec.at("timeZone").as_str().unwrap_or("<none>").into(),
            suspended.into(),
            status.list("active").len().into(),
            last.into(),
            column::age(obj, now),
            containers,
            images,
            workload::selector_cell(job.at("selector")),
        ]
    }
}

fn validate(spec: &Node<'_>, old: Option<&Value>, errs: &mut ErrorList) {
    schedule(spec, old, errs);
    workload::counts(
        spec,
        &["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"],
        errs,
    );
    let zone = spec.child("timeZone");
    if zone.is_set() && old.is_none_or(|old| old.at("timeZone") != zone.value()) {
        time_zone(&zone, errs);
    }
    check::required_choice(&spec.child("concurrencyPolicy"), &["Allow", "Forbid", "Replace"], errs);
    let template = spec.child("jobTemplate");
    let job = template.child("spec");
    let rules = old.map_or_else(Rules::default, |old| {
        Rules::for_template_update(old.path(&["jobTemplate", "spec", "template"]))
    });
    job_spec::validate(&job, &rules, errs);
    let (selector, manual) = (job.child("selector"), job.child("manualSelector"));
    if selector.is_set() {
        errs.push(selector.invalid("`selector` will be auto-generated"));
    }
    if job.flag("manualSelector") {
        errs.push(grammar::field::not_supported(&manual.path, manual.value(), &["nil", "false"]));
    }
}

fn schedule(spec: &Node<'_>, old: Option<&Value>, errs: &mut ErrorList) {
    let schedule = spec.child("schedule");
    let text = schedule.str();
    if text.is_empty() {
        errs.push(schedule.required(""));
        return;
    }
    if let Err(complaint) = Schedule::parse_in(text, &Zone::utc()) {
        errs.push(schedule.invalid(complaint.to_string()));
    }
    // Schedules with a zone of their own were once allowed, and may stay.
    let had_zone = old.is_some_and(|old| old.text("schedule").contains("TZ"));
    match (text.contains("TZ"), had_zone) {
        (true, true) if spec.has("timeZone") => {
            errs.push(schedule.invalid("cannot use both timeZone field and TZ or CRON_TZ in schedule"));
        }
        (true, false) => {
            errs.push(schedule.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"));
        }
        _ => {}
    }
}

fn time_zone(zone: &Node<'_>, errs: &mut ErrorList) {
    const MAX_PART: usize = 14;
    let text = zone.str();
    if text.is_empty() {
        errs.push(zone.invalid("timeZone must be nil or non-empty string"));
        return;
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+');
    let odd = |part: &str| {
        matches!(part, "" | "." | "..")
            || part.starts_with('-')
            || part.len() > MAX_PART
            || !part.bytes().all(plain)
    };
    if text.split('/').any(odd) {
        errs.push(zone.invalid(format!("unknown time zone {text}")));
        return;
    }
    if text.eq_ignore_ascii_case("Local") {
        errs.push(
            zone.invalid(
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            ),
        );
    }
    if text == "Local" {
        return;
    }
    if let Err(complaint) = Zone::load(text) {
        errs.push(zone.invalid(complaint.to_string()));
    }
}
