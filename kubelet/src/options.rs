//! Options about what the node gives to pods and takes from elsewhere.

use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use reeve_kubelet::log_rotation::RotationPolicy;
use reeve_kubelet::node::allocatable::{self, Amounts};
use reeve_kubelet::node::facts::NodeFacts;
use reeve_kubelet::pressure::images::ImagePolicy;
use reeve_kubelet::pressure::thresholds::{self, Settings};
use reeve_kubelet::pulled::policy::{PolicyError, VerificationPolicy};
use reeve_kubelet::quantity;

/// Static pods, reservations, kernel settings.
#[derive(clap::Args, Debug)]
pub struct ResourceOptions {
    /// Path to the directory containing static pod files to run, or the path to a single static pod file
    #[arg(long, value_name = "PATH")]
    pub pod_manifest_path: Option<PathBuf>,
    /// Comma-separated list of unsafe sysctls or unsafe sysctl patterns (ending in *) that pods may use
    #[arg(long, value_delimiter = ',', value_name = "SYSCTLS")]
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Resources reserved for Kubernetes' own components: cpu=200m,memory=500Mi,ephemeral-storage=1Gi
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    kube_reserved: Vec<String>,
    /// Resources reserved for other components of the system: cpu=200m,memory=500Mi,ephemeral-storage=1Gi
    #[arg(long, value_delimiter = ',', value_name = "RESOURCES")]
    system_reserved: Vec<String>,
    /// Comma-separated thresholds below which pods are evicted at once
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "THRESHOLDS",
        default_value = "memory.available<100Mi,nodefs.available<10%,imagefs.available<15%,nodefs.inodesFree<5%,imagefs.inodesFree<5%"
    )]
    eviction_hard: Vec<String>,
    /// Comma-separated thresholds below which pods are evicted after a grace period
    #[arg(long, value_delimiter = ',', value_name = "THRESHOLDS")]
    eviction_soft: Vec<String>,
    /// Grace periods of the soft thresholds: memory.available=1m30s
    #[arg(long, value_delimiter = ',', value_name = "PERIODS")]
    eviction_soft_grace_period: Vec<String>,
    /// Longest grace period in seconds of pods that are evicted for a soft threshold
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    eviction_max_pod_grace_period: i64,
    /// Duration for which a pressure condition stays after its threshold was met last
    #[arg(long, default_value = "5m0s", value_name = "DURATION")]
    eviction_pressure_transition_period: String,
    /// Percent of disk usage above which unused images are removed; 100 removes none
    #[arg(long, default_value_t = 85, value_name = "PERCENT")]
    image_gc_high_threshold: i64,
    /// Percent of disk usage to which unused images are removed
    #[arg(long, default_value_t = 80, value_name = "PERCENT")]
    image_gc_low_threshold: i64,
    /// Minimum age of an image before it is removed
    #[arg(long, default_value = "2m0s", value_name = "DURATION")]
    minimum_image_ttl_duration: String,
    /// When the use of an image that is on the node needs the credentials that pull it: NeverVerify,
    /// NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages or AlwaysVerify
    #[arg(long, default_value = "NeverVerifyPreloadedImages", value_name = "POLICY")]
    image_pull_credentials_verification_policy: String,
    /// Comma-separated list of images that NeverVerifyAllowlistedImages lets every pod use: names without tag, or
    /// beginnings that end in /*
    #[arg(long, value_delimiter = ',', value_name = "IMAGES")]
    preloaded_images_verification_allowlist: Vec<String>,
    /// Size of a container's log file at which it is rotated
    #[arg(long, default_value = "10Mi", value_name = "QUANTITY")]
    container_log_max_size: String,
    /// Number of log files that are kept for a container
    #[arg(long, default_value_t = 5, value_name = "NUMBER")]
    container_log_max_files: usize,
}

impl ResourceOptions {
    /// When pods are evicted.
    pub fn eviction(&self) -> Result<Settings> {
        let hard = thresholds::parse(&self.eviction_hard, None).map_err(|error| anyhow!("--eviction-hard {error}"))?;
        let soft = thresholds::parse(&self.eviction_soft, Some(&self.eviction_soft_grace_period))
            .map_err(|error| anyhow!("--eviction-soft {error}"))?;
        let transition = &self.eviction_pressure_transition_period;
        Ok(Settings {
            thresholds: hard.into_iter().chain(soft).collect(),
            transition: period("--eviction-pressure-transition-period", transition)?,
            max_grace_seconds: self.eviction_max_pod_grace_period,
        })
    }

    /// When images are removed.
    pub fn images(&self) -> Result<ImagePolicy> {
        let (high, low) = (self.image_gc_high_threshold, self.image_gc_low_threshold);
        if !(0..=100).contains(&high) || !(0..=100).contains(&low) || (low >= high && high < 100) {
            bail!("--image-gc-high-threshold {high} must be above --image-gc-low-threshold {low}, both in 0 to 100");
        }
        Ok(ImagePolicy {
            high_percent: high,
            low_percent: low,
            minimum_age: period("--minimum-image-ttl-duration", &self.minimum_image_ttl_duration)?,
        })
    }

    /// Which images on the node need credentials.
    pub fn verification(&self) -> Result<VerificationPolicy> {
        let (policy, allowed) =
            (&self.image_pull_credentials_verification_policy, &self.preloaded_images_verification_allowlist);
        VerificationPolicy::parse(policy, allowed).map_err(|error| match error {
            PolicyError::Unknown(_) => anyhow!("--image-pull-credentials-verification-policy: {error}"),
            error => anyhow!("--preloaded-images-verification-allowlist: {error}"),
        })
    }

    /// When logs are rotated.
    pub fn logs(&self) -> Result<RotationPolicy> {
        let size = &self.container_log_max_size;
        let max_size =
            quantity::whole(size).ok_or_else(|| anyhow!("--container-log-max-size {size}: not a quantity"))?;
        if self.container_log_max_files < 2 {
            bail!("--container-log-max-files {}: at least 2 are needed", self.container_log_max_files);
        }
        Ok(RotationPolicy { max_size, max_files: self.container_log_max_files })
    }

    /// What is kept from pods.
    pub fn reserved(&self, facts: &NodeFacts, max_pods: u32) -> Result<[Amounts; 3]> {
        let read = |flag: &str, pairs: &[String]| allocatable::parse(pairs).map_err(|error| anyhow!("{flag} {error}"));
        let free = thresholds::kept_free(&self.eviction()?.thresholds, &allocatable::capacity(facts, max_pods));
        Ok([read("--kube-reserved", &self.kube_reserved)?, read("--system-reserved", &self.system_reserved)?, free])
    }
}

fn period(flag: &str, text: &str) -> Result<std::time::Duration> {
    thresholds::duration(text).ok_or_else(|| anyhow!("{flag} {text}: not a duration like 2m30s"))
}
