// Tells a sink about every request to an agent: how long it took, and whether it was answered well.
#pragma once

#include <memory>

#include "bai_manager/manager.hpp"

namespace bai::runtime {

class MeasuredGateway : public AgentGateway {
 public:
  // `clock` lives as long as `owner` can be locked; answers that come later are not measured.
  MeasuredGateway(std::shared_ptr<AgentGateway> inner, std::shared_ptr<MetricsSink> metrics,
                  Clock& clock, std::weak_ptr<const void> owner)
      : inner_(std::move(inner)),
        metrics_(std::move(metrics)),
        clock_(clock),
        owner_(std::move(owner)) {}

  void request(const AgentEndpoint& agent, AgentRequest request, Duration timeout,
               AgentReplyHandler reply) override {
    const std::string_view name = request_name(request);
    inner_->request(agent, std::move(request), timeout,
                    [metrics = metrics_, &clock = clock_, owner = owner_, name,
                     began = clock_.now(), reply = std::move(reply)](auto answer) mutable {
                      if (const auto alive = owner.lock()) {
                        metrics->agent_request_done(name, answer.has_value(), clock.now() - began);
                      }
                      reply(std::move(answer));
                    });
  }
  void forget(const AgentId& agent) override { inner_->forget(agent); }

 private:
  const std::shared_ptr<AgentGateway> inner_;
  const std::shared_ptr<MetricsSink> metrics_;
  Clock& clock_;
  const std::weak_ptr<const void> owner_;
};

}  // namespace bai::runtime
