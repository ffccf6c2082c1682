//! Takes a plain connection from the HTTP dispatcher once its upgrade is granted: the session owns the socket, and the dispatcher with its
//! two buffers ends.
//!
//! The routes decide, as for any other request; the handler that grants an upgrade leaves a continuation for the socket in the
//! [`Handover`]. Over TLS there is no handover, and the session sends through the response's body.

use actix_codec::Framed;
use actix_http::h1::{Codec, SendResponse};
use actix_http::{ConnectionType, HttpMessage, Request, Response};
use actix_service::{Service, ServiceFactory};
use actix_web::Error;
use actix_web::body::{MessageBody, to_bytes};
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::error::ErrorInternalServerError;
use bytes::BytesMut;
use futures_util::future::LocalBoxFuture;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Continues with the socket and the bytes that were read after the request's head.
type GoesOn = Box<dyn FnOnce(TcpStream, BytesMut)>;

/// Holds the continuation for the socket, which the handler that grants an upgrade leaves here.
#[derive(Clone, Default)]
pub(crate) struct Handover(Rc<RefCell<Option<GoesOn>>>);

impl Handover {
    /// Calls `goes_on` with the socket once the response is sent.
    pub(super) fn disconnect_client(&self, goes_on: impl FnOnce(TcpStream, BytesMut) + 'static) {
        self.0.replace(Some(Box::new(goes_on)));
    }
}

/// Builds the upgrade services from the application.
pub(crate) struct Upgrades<F>(pub(crate) F);

/// Answers requests for an upgrade.
pub(crate) struct Upgrade<S>(Rc<S>);

impl<F, B> ServiceFactory<(Request, Framed<TcpStream, Codec>)> for Upgrades<F>
where
    F: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>, Error = Error>,
    F::Future: 'static,
    F::Service: 'static,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = Error;
    type Config = ();
    type Service = Upgrade<F::Service>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let service = self.0.new_service(AppConfig::default());
        Box::pin(async move { Ok(Upgrade(Rc::new(service.await?))) })
    }
}

impl<S, B> Service<(Request, Framed<TcpStream, Codec>)> for Upgrade<S>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    type Response = ();
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<(), Error>>;

    fn poll_ready(&self, task: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(task)
    }

    fn call(&self, (request, framed): (Request, Framed<TcpStream, Codec>)) -> Self::Future {
        let service = Rc::clone(&self.0);
        Box::pin(async move {
            let handover = Handover::default();
            request.extensions_mut().insert(handover.clone());
            let (response, body) = Response::from(service.call(request).await?).into_parts();
            let body = to_bytes(body)
                .await
                .map_err(|error| ErrorInternalServerError(error.into()))?;
            let mut response = response.set_body(body);
            let goes_on = handover.0.take();
            if goes_on.is_none() {
                response.head_mut().set_connection_type(ConnectionType::Close);
            }
            let mut framed = SendResponse::new(framed, response).await?;
            match goes_on {
                Some(goes_on) => {
                    let parts = framed.into_parts();
                    goes_on(parts.io, parts.read_buf);
                }
                None => framed.io_mut().shutdown().await?,
            }
            Ok(())
        })
    }
}
