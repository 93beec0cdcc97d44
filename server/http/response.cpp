#include "http/message.hpp"
#include "http/responder.hpp"

namespace bai::http {

Response Response::json(int status, const Json& body) {
  return {status, {{"Content-Type", "application/json"}}, body.dump()};
}

Response Response::text(int status, std::string body) {
  return {status, {{"Content-Type", "text/plain; charset=utf-8"}}, std::move(body)};
}

Json problem_json(std::string_view slug, std::string_view title, std::string_view error_code,
                  std::string_view msg, Json data) {
  Json body = Json::object();
  body.set("type", Json("https://api.backend.ai/probs/" + std::string(slug)));
  body.set("title", Json(title));
  if (!error_code.empty()) body.set("error_code", Json(error_code));
  if (!msg.empty()) body.set("msg", Json(msg));
  if (!data.is_null()) body.set("data", std::move(data));
  return body;
}

Response problem(int status, std::string_view slug, std::string_view title,
                 std::string_view error_code, std::string_view msg, Json data) {
  return {status,
          {{"Content-Type", "application/problem+json"}},
          problem_json(slug, title, error_code, msg, std::move(data)).dump()};
}

namespace {

class FunctionSink final : public Responder::Sink {
 public:
  explicit FunctionSink(std::move_only_function<void(Response)> answer)
      : answer_(std::move(answer)) {}
  void respond(Response response) override { answer_(std::move(response)); }
  StreamWriter stream(Response head) override {
    answer_(std::move(head));
    return {};
  }
  StreamWriter upgrade(Response head, Responder::OnData) override {
    answer_(std::move(head));
    return {};
  }
  void drop() override {
    answer_(problem(500, "internal-server-error", "Internal server error.",
                    "backendai_generic_internal-error", "The request was dropped unanswered."));
  }

 private:
  std::move_only_function<void(Response)> answer_;
};

}  // namespace

Responder Responder::to_function(std::move_only_function<void(Response)> answer) {
  return Responder(std::make_shared<FunctionSink>(std::move(answer)));
}

}  // namespace bai::http
