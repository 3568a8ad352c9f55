//! The group `batch`.

use crate::registry::Row;
use crate::registry::kinds;

use super::{row, words};

pub(super) fn rows() -> Vec<Row> {
    vec![
        row(&kinds::cron_job::CronJobs, "/registry/cronjobs/", words("cronjob", &["cj"], &["all"])).with_status(),
        row(&kinds::job::Jobs, "/registry/jobs/", words("job", &[], &["all"])).with_status(),
    ]
}
