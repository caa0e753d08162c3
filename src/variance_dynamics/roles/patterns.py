"""Names that libraries give their parameters, as patterns of which the first match decides.

Each pattern is searched in a parameter's path: its name without wrappers and without ".weight". A new
spelling is a new alternative in one of them.
"""

import re

Table = tuple[tuple[str, "re.Pattern[str]"], ...]

WRAPPERS = {"_orig_mod", "module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module",
            "base_layer", "parametrizations"}
"""Parts of a name that torch.compile, DDP, FSDP, activation checkpointing, Lightning Fabric, PEFT and
torch.nn.utils.parametrize insert."""

ENDING = re.compile(r"\.weight(\d*|_v|_orig|\.original1?)$|(?<!in_proj)_weight$|(?<=qkv)_w$|(?<=qkvo)_w$")
"""What a path lacks: the parameter's own name inside its layer."""

BUFFERS = re.compile(r"(inv_freq|masked_bias|running_(mean|var)|num_batches_tracked|(position|type)_ids"
                     r"|relative_position_index|relative_coords_table|attn_mask|causal_mask|mask_cache"
                     r"|(^|\.)(att|attn|attention)\.mask|rotary_(sin|cos)|IGNORE|_extra_state)$")
"""Buffers, which nobody initialises."""

CONV1D = re.compile(r"(^|\.)(c_attn|q_attn|c_proj|c_fc)\.weight$")
"""Layers that are Conv1D, with weights [in, out], in Hugging Face's models of GPT-2's family."""

INPUTS_FIRST = re.compile(r"(^|\.)(W_in|W_out|W_gate|W_U|visual\.proj|text_projection)$")
"""Bare parameters that are stored as [in, out]: TransformerLens, the projections of OpenAI's CLIP."""

CONV = re.compile(r"conv|dwise|depthwise|pointwise|downsample|patch", re.IGNORECASE)
"""Names of convolutions, where their class is not known."""

EXPERTS = re.compile(r"(^|\.)(\w*experts?|moe|feed_forward_moe)(\.|$)", re.IGNORECASE)
ROUTERS = re.compile(r"(^|[._])(router\w*|shared_expert_gate|moe_gate)(\.\w+)*$", re.IGNORECASE)
ROUTER = re.compile(r"(^|\.)((gate|gating)(\.\w+)*|wg)$")
"""Names of a router where experts lie beside it."""

BLOCKS = re.compile(
    r"(^|[._])(self|cross|rel|linear)?_?(att|attn|attention)\w*(\.|$)"
    r"|(^|\.)(\w+_)?(layers?|blocks?|h|resblocks|transformer|decoder|encoder)\.\d+\.[^.]"
    r"|(^|\.)(in_proj_weight|in_proj|qkvo?_?w?|w?qkv\w*|query_key_value|c_attn|to_(q|k|v|qkv|kv)"
    r"|[qkv]_(proj|lin)"
    r"|linear_qkv|experts|lora_[ab]|mixer|mamba|w_[qkv]|w_(query|key|value))(\.|$)", re.IGNORECASE)
"""Names that only a network of blocks has. In such a network what is not known is unknown."""

MIXERS = re.compile(
    r"(^|\.)(mixer|mamba\w*|ssm|linear_att\w*|temporal_block|rg_lru|[ms]lstm\w*|time_mix\w*|tmix"
    r"|gated_delta\w*"
    r"|token_mixer|short_conv|conv|hyena|retention|s4\w*)\.|(^|\.)mixer$", re.IGNORECASE)
"""Modules that mix positions without being softmax attention."""

GATES = re.compile(r"(^|[._])weight_(?P<kind>ih|hh|hr)(_l\d+)?(_reverse)?$")
"""Fused gates of torch's RNN, GRU and LSTM, and of their cells."""


FED = re.compile(r"(^|\.)(ffn|feed_forward|cmix|channel_mix\w*)\.(key|value|receptance)$")
"""RWKV's MLP."""


def _table(**alternatives: str) -> Table:
    return tuple((role, re.compile(pattern, re.IGNORECASE)) for role, pattern in alternatives.items())


LORA: Table = _table(
    lora_a=r"(^|[._])lora_(embedding_)?a([._]|$)",
    lora_b=r"(^|[._])lora_(embedding_)?b([._]|$)",
)
"""Adapters, before all else: their names hold those of the layers that they adapt."""

_SPELLINGS = (r"(^|\.)({0}|{0}_(proj|lin|linear|head)|{1}|{1}_(proj|layer|linear|global)|w_?{0}|w_?{1}"
              r"|to_?{0}|to_{1}|projection_{1}|c_{0}|linear_{0}|proj_{0}|fc_{0}{2})$")

ATTENTION: Table = _table(
    q_down=r"(^|\.)(q_a_proj|wq_a|q_down_proj|linear_q_down_proj)$",
    kv_down=r"(^|\.)(kv_a_proj_with_mqa|wkv_a|kv_a_proj|kv_down_proj|linear_kv_down_proj)$",
    kv_per_head=r"(^|\.)(kv_b_proj|wkv_b|kv_up_proj|linear_kv_up_proj)$",
    qkvz_per_head=r"(^|\.)in_proj_qkvz$",
    qkv_linear=r"linear_attn\.in_proj_qkv$",
    qkv_per_head=r"(^|\.)(query_key_value|linear_qkv)$|attention\.self\.in_proj$|(^|\.)attn\.attn$",
    qkvo=r"(^|\.)qkvo$",
    qkv=r"(^|\.)(c_attn|qkv|qkv_proj|w_?qkv|to_qkv|in_proj_weight|in_proj_qkv|qkv_net|att_proj)$"
        r"|(attn|attention)\w*\.in_proj$",
    kv=r"(^|\.)(to_kv|kv|kv_proj|linear_kv|w_?kv|c_kv|kv_net)$",
    qk=r"(^|\.)(to_qk|qk|qk_proj|w_?qk)$",
    q=_SPELLINGS.format("q", "query", r"|pos_q_proj|q_b_proj|wq_b|q_up_proj|linear_q_up_proj")
      + r"|attention\.experts\.input_linear$",
    k=_SPELLINGS.format("k", "key", r"|pos_key_proj|relative_k_proj|linear_pos|pos_k_proj|r_net")
      + r"|rel_attn\.r$|attention\.self\.pos_proj$",
    v=_SPELLINGS.format("v", "value", ""),
    attn_out=r"(^|[._])(att|\w*(attn|attention|attends|mixer|mhsa|mha)\w*)(\.(self|output|attention|attn|fn"
             r"|\d+)){0,2}"
             r"\.(c_proj|o_proj|out_proj|dense|proj|projection|out_lin|w?o|to_out|to_out\.\d|linear_proj"
             r"|output|out"
             r"|fc_out|w_o|w_out|linear_out|o_net|out_projection|o_b_proj|outproj|post_proj|proj\.ln)$"
             r"|(^|\.)(attn_out|to_out|to_out\.\d|o_proj|w_o|o_net)$|attention\.experts\.output_linear$"
             r"|^out_proj$",
    mixer=r"(att|attn|attention)\w*\.(\w+\.)*(\w*gate\w*|proj_l|proj_w|[abfg](_[ab])?_proj|weights_proj"
          r"|\w_lora[\w.]*)$",
)
"""Attention, in and outside of blocks."""

MIXER: Table = _table(
    mixer_out=r"(^|\.)(out_proj|linear_out|output|o_proj|wo|down_proj|proj_out|out)$",
    mixer_in=r"(^|\.)(in_proj\w*|linear_[xy]|receptance|r_proj|key|value|gate|proj_up|up_proj|in)$",
)
"""In a mixer; what else it holds is `mixer`."""

FEED_FORWARD = (r"(^|\.)(\w*mlp\w*|ff|ffn\w*|ff_\w+|\w*feed_?forward\w*|DenseReluDense|cmix|channel_mix\w*"
                r"|fc|fcs|intermediate)")

MLP: Table = _table(
    mlp_sequence=FEED_FORWARD + r"(\.(net|layers|fn|ff|linear_layers|main))*\.\d+(\.(0|proj|linear))?$"
                 r"|\.\d+\.(fn\.)?net\.\d+(\.(0|proj))?$",
    gate_up=r"(^|\.)(gate_up_proj|up_gate_proj|gate_and_up_proj|w12|w13|weights_in|mlp1)$",
    mlp_in=r"(^|\.)(c_fc\w?|fc_in|fc1\w?\d?|fc1_[gx]|fc_1|fc_2|lin_?1|linear_?1|dense_?1|gate_proj|up_proj"
           r"|w1|w3|v1"
           r"|wi|wi_\d|dense_h_to_4h|linear_fc1|ff_proj|proj_up|proj_up_gate|pwconv1|input_linear|w_in|w_gate"
           r"|w_up|gate_w|up_w|(intermediate|intermediate_query)\.dense|intermediate_dense|c_fc_\d|ff1|mlp_in"
           r"|layer_1|mlp\.ln1)$|"
           + FEED_FORWARD + r"\.(fc|up|w_in|key|in_proj|gate|receptance|lin_in|intermediate)$|(^|\.)ffn$",
    mlp_out=r"(^|\.)(mlp\.c_proj|fc_out|fc2\w?|lin_?2|linear_?2|dense_?2|down_proj|w2|wo|w_o|dense_4h_to_h"
            r"|linear_fc2|ff_out|proj_down|pwconv2|output_linear|w_out|w_down|down_w|mlp2|w3_out|(output"
            r"|output_query)\.dense"
            r"|output_dense|ff2|layer_2|mlp\.ln2|mlp_out|ffn_output|c_proj)$|"
            + FEED_FORWARD + r"\.(proj|down|w_out|value|out_proj|lin_out|output)$|experts\.\d+\.proj$",
)
"""The other matrices of a block. mlp_sequence: the first of an nn.Sequential is mlp_in, the last mlp_out."""

TABLE: Table = _table(
    bias_table=r"(^|[._])(relative_attention_bias|relative_position_bias_table|attention_biases|rel_pos_bias"
               r"|relative_position_bias|relative_bias|rel_pos_[hwt]|position_bias|rel_bias)([._]|$)"
               r"|rel_pos_bias\w*\.\w*table$",
    token=r"(^|[._])(cls|class|mask|dist|distillation|reg|register|registers|query|prompt|storage|global"
          r"|semantic"
          r"|summary|meta|sep|pad)_?tokens?(_embed\w*|_\d)?$|(^|\.)(class_embedding|class_embed|latents?"
          r"|probe"
          r"|masked_spec_embed|query_position_embeddings|query_embed|image_newline|bias_[kv]|cls|latent_query"
          r"|no_mask_embed|mask_emb|null_\w*emb\w*)$",
    readout=r"(^|[._])(embed_out|unembed\w*)$|unembed\.w_u$",
    hidden=r"(^|\.)(cpb_mlp|continuous_position_bias_mlp|rel_pos\w*\.mlp)\.|(^|\.)(embeddings_project"
           r"|embedding_hidden_mapping_in|decoder_embed|embedding_projection"
           r"|embed_proj\w*|embedding_project\w*|emb_proj\w*|embeddings\.projection"
           r"|embedding_transformation)$",
    patch=r"patch_?embed\w*(\.(proj\w*|conv|linear|\d+))*$|(^|\.)(conv_proj|patch_conv|patch_projection"
          r"|patchifier)$"
          r"|visual\.conv1$|(^|\.)stem\.proj$|encoder\.conv[12]$|(^|\.)feature_projection\.projection$"
          r"|patch_?embed\w*\.proj\w*\.\d+$"
          r"|(^|\.)(vision_embed_tokens|embedder\.input_embedding|value_embedding\.value_projection)$",
    position=r"(^|[._])(wpe|pos|position|positions|positional|rel_embeddings)(_?(emb|embed|embedding"
             r"|embeddings"
             r"|embeds|encodings?|table|embedder\w*))?(\d|([._](weight|pe|position_embeddings|embeddings?"
             r"|w_pos))?$)"
             r"|(^|\.)(\w*pos_embed\w*|\w*pos_emb|\w*position_embeddings?\w*|absolute_pos_embed"
             r"|position_enc)(\.|$)",
    embedding=r"(^|[._])(wte|emb|embed|embeds|embedding|embeddings|embedder|w_e)(_(in|tokens\w*"
              r"|table))?\d*(\.\d+)?$"
              r"|(^|\.)(shared|tok_embeddings|embed_tokens\w*|\w*word_embeddings?|codebook_embeddings?)$",
)
"""What is looked up or added, and what only looks like it by name. Before the tables below."""

OUTSIDE: Table = _table(
    hidden=r"(^|[._])(pooler|transform|pre_classifier|vocab_transform|project_(in|out)|reduction"
           r"|layer_transform|seq_summary|summary|multi_modal_projector|mm_projector|projector|upsample\w*"
           r"|connector|merger"
           r"|vision_projection|language_projection|feature_proj\w*|adapter\w*|final_proj\w*)([._]\w+)*$"
           r"|(^|\.)(classifier|head|lm_head|projection_head|predictions?|\w+_predictions)\.dense$"
           r"|head\.fc\.fc1$"
           r"|(^|\.)(time_embed\w*|t_embedder|timestep_embedder)\b.*$",
    readout=r"(^|\.)(lm_heads?(\.\d+|\.decoder)?|readout|\w*heads?(\.\d+)?|\w*heads?\.(head|fc|proj"
            r"|out_proj|linear)|score"
            r"|logits|head_dist|output|out|proj_out|fc|\w*classifier|classifier\.(out_proj|\d+)"
            r"|predictions\.decoder"
            r"|seq_relationship|qa_outputs|output_layer|output_projection|out_head|vocab_projector"
            r"|dense_prediction|decoder_pred"
            r"|visual_projection|text_projection|visual\.proj|\w*generator_lm_head|decoder|to_logits(\.\d)?"
            r"|proj"
            r"|final_layer\.linear|lm_head\.w_out|transformer\.ff_out|head\.fc\.fc2|out_proj|final_layer)$",
)
"""Matrices outside of every block."""

NORM = re.compile(r"(norm|(^|[._])(ln|bn|gn|rms))\w*(\.\d+)?[._](weight|scale|gamma|g|w)$"
                  r"|(^|[._])\w*norm\w*_weight$|(^|\.)\w*norm\d?$", re.IGNORECASE)
BIAS = re.compile(r"(^|[._])(bias(es)?\w*|\w*bias|beta|shift)$|(^|\.)b(_(Q|K|V|O|in|out|U))?$|bias\d+$")
SCALE = re.compile(r"(^|\.)(gamma\w*|layer_?scale\w*|res_scale\w*|lambda_?\d*|ls\d?|weight_g|original0|alpha"
                   r"|scale|lora_magnitude\w*|\w*lambdas)(\.\w+)*$", re.IGNORECASE)
STATES = re.compile(r"(^|\.)(A_logs?|Ds?|dt_bias|time_(decay|first|faaaa)|lambda_param|recurrent_param)$")
"""Set by formulas, as those of a state space: neither matrices nor norms nor biases, whatever their shape."""
