//! Vocabulary shared by the control plane and the nodes.
