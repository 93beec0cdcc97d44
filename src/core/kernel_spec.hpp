// What an agent is told about kernels it is to create.
#pragma once

#include <vector>

#include "bai_manager/agent.hpp"
#include "model/state.hpp"

namespace bai::core {

// The image's row, or what its name alone says when the row is gone.
ImageSpec make_image_spec(const State& state, std::string_view canonical,
                          std::string_view architecture);

CreateKernels make_create_request(const State& state, const Session& session,
                                  const std::vector<KernelId>& kernels);

}  // namespace bai::core
