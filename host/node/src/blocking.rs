use crate::ControlError;

/// Runs what waits for the disk off the reactor.
pub(crate) async fn blocking<T: Send + 'static, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, ControlError>
where
    E: Into<ControlError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(ControlError::Stopping),
    }
}
