//! PyTorch's `.pth`: a ZIP archive with a pickle that describes the tensors and one entry for each tensor's values.

mod pickle;
mod read;
mod write;
