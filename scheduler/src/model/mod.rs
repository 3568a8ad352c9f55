//! What scheduling reads of pods and nodes, in a compact form that identical pods share.

pub mod node;
pub mod requirement;
pub mod resources;
pub mod template;
pub mod toleration;

pub use node::NodeFacts;
pub use requirement::{Labels, Operator, Requirement, Term};
pub use resources::Resources;
pub use template::{HostPort, PodTemplate, SpreadConstraint, Unsatisfiable};
pub use toleration::{Effect, Taint, Toleration};
