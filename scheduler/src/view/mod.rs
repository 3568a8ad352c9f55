//! What travels from the API server and is held: views of pods and nodes, narrowed as they are decoded.

pub mod amount;
pub mod node;
pub mod pod;

pub use node::NodeView;
pub use pod::PodView;
