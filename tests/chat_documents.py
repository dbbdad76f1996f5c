"""``PP-ChatOCRv3-doc`` as PaddleX's own YAML files of both generations write it; the prompts are others."""

V3 = """
pipeline_name: PP-ChatOCRv3-doc
use_layout_parser: True
SubModules:
  LLM_Chat:
    module_name: chat_bot
    model_name: ernie-3.5-8k
    base_url: "https://qianfan.baidubce.com/v2"
    api_type: openai
    api_key: "api_key"
  LLM_Retriever:
    module_name: retriever
    model_name: embedding-v1
    base_url: "https://qianfan.baidubce.com/v2"
    api_type: qianfan
    api_key: "api_key"
  PromptEngneering:
    KIE_CommonText:
      module_name: prompt_engneering
      task_type: text_kie_prompt_v1
      task_description: 'Find the values.'
      rules_str:
      output_format: 'JSON'
      few_shot_demo_text_content:
      few_shot_demo_key_value_list:
    KIE_Table:
      module_name: prompt_engneering
      task_type: table_kie_prompt_v1
      task_description: 'Find the values in the table.'
      rules_str:
      output_format: 'JSON'
      few_shot_demo_text_content:
      few_shot_demo_key_value_list:
SubPipelines:
  LayoutParser:
    pipeline_name: layout_parsing
    use_doc_preprocessor: True
    use_general_ocr: True
    use_seal_recognition: True
    use_table_recognition: True
    use_formula_recognition: False
    SubModules:
      LayoutDetection: {module_name: layout_detection, model_name: RT-DETR-H_layout_3cls, model_dir: null}
    SubPipelines:
      DocPreprocessor:
        pipeline_name: doc_preprocessor
        use_doc_orientation_classify: True
        use_doc_unwarping: True
        SubModules:
          DocOrientationClassify:
            {module_name: doc_text_orientation, model_name: PP-LCNet_x1_0_doc_ori, model_dir: null}
          DocUnwarping: {module_name: image_unwarping, model_name: UVDoc, model_dir: null}
      GeneralOCR:
        pipeline_name: OCR
        text_type: general
        use_doc_preprocessor: False
        use_textline_orientation: False
        SubModules:
          TextDetection:
            {module_name: text_detection, model_name: PP-OCRv4_server_det, model_dir: null,
             limit_side_len: 960,
             limit_type: max, max_side_limit: 4000, thresh: 0.3, box_thresh: 0.6, unclip_ratio: 1.5}
          TextRecognition:
            {module_name: text_recognition, model_name: PP-OCRv4_server_rec, model_dir: null, batch_size: 6,
             score_thresh: 0}
      TableRecognition:
        pipeline_name: table_recognition
        use_layout_detection: False
        use_doc_preprocessor: False
        use_ocr_model: False
        SubModules:
          TableStructureRecognition:
            {module_name: table_structure_recognition, model_name: SLANet_plus, model_dir: null}
      SealRecognition:
        pipeline_name: seal_recognition
        use_layout_detection: False
        use_doc_preprocessor: False
        SubPipelines:
          SealOCR:
            pipeline_name: OCR
            text_type: seal
            use_doc_preprocessor: False
            use_textline_orientation: False
            SubModules:
              TextDetection:
                {module_name: seal_text_detection, model_name: PP-OCRv4_server_seal_det, model_dir: null,
                 limit_side_len: 736, limit_type: min, max_side_limit: 4000, thresh: 0.2, box_thresh: 0.6,
                 unclip_ratio: 0.5}
              TextRecognition:
                {module_name: text_recognition, model_name: PP-OCRv4_server_rec, model_dir: null,
                 batch_size: 1,
                 score_thresh: 0}
"""
BETA = """
Global:
  pipeline_name: PP-ChatOCRv3-doc
  input: https://example.com/contract.pdf
Pipeline:
  layout_model: RT-DETR-H_layout_3cls
  table_model: SLANet_plus
  text_det_model: PP-OCRv4_server_det
  text_rec_model: PP-OCRv4_server_rec
  seal_text_det_model: PP-OCRv4_server_seal_det
  doc_image_ori_cls_model: null
  doc_image_unwarp_model: null
  llm_name: "ernie-3.5"
  llm_params:
    api_type: qianfan
    ak:
    sk:
"""
